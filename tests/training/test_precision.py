"""Products in bfloat16 stay near those in float32; TF32 is for CUDA devices."""

import numpy as np
import pytest
import torch

from fuxictr_stem.errors import ConfigError
from tests.support.small_models import MIXED, SMALL, feature_map, losses_of_steps, small_model

ALL = sorted(SMALL)


@pytest.mark.parametrize("name", ALL)
def test_bf16_stays_near_fp32_and_keeps_float_weights(name):
    fmap = feature_map(MIXED)
    losses = {}
    for precision in ("fp32", "bf16"):
        model = small_model(name, fmap, precision=precision)
        losses[precision] = losses_of_steps(model, fmap, 10)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())
    np.testing.assert_allclose(losses["bf16"], losses["fp32"], rtol=2e-2)
    assert losses["bf16"] != losses["fp32"]


def test_tf32_needs_a_cuda_device():
    with pytest.raises(ConfigError, match="precision: tf32 is a format of CUDA devices"):
        small_model("STEMNet", feature_map(), precision="tf32")
    with pytest.raises(
        ConfigError, match="precision: must be one of fp32, tf32, bf16, found 'fp16'"
    ):
        small_model("STEMNet", feature_map(), precision="fp16")
