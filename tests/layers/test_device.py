"""Steps in the shapes that a CUDA device takes, without one: the numbers of the host, and no look at them.

What asks `layers.device.on_host` takes its other way here; a CUDA device would take that way, too.
"""

import copy

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from tests.support.small_models import (
    MIXED,
    SMALL,
    batch,
    categorical,
    feature_map,
    losses_of_steps,
    numeric,
    small_model,
)

ALL = sorted(SMALL)


@pytest.mark.parametrize("max_norm", [1e9, 0.05])
@pytest.mark.parametrize("row_sparse", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_the_same_losses_and_weights_as_on_the_host(name, row_sparse, max_norm, elsewhere):
    fmap = feature_map(MIXED)
    model = small_model(name, fmap, embedding_regularizer=1e-2, row_sparse=row_sparse)
    model._max_gradient_norm = max_norm
    twin = small_model(name, fmap, embedding_regularizer=1e-2, row_sparse=row_sparse)
    twin.load_state_dict(copy.deepcopy(model.state_dict()))
    twin._max_gradient_norm = max_norm
    host = losses_of_steps(model, fmap, 20)
    elsewhere()
    np.testing.assert_allclose(losses_of_steps(twin, fmap, 20), host, rtol=1e-5)
    for (name, weight), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(other, weight, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("weights", [False, True])
def test_missing_labels_and_sample_weights(weights, elsewhere):
    """Rows without a label are left out by a weight of 0, not by an index."""
    fmap = feature_map({"a": categorical(9), "w": numeric()})

    def edit(columns):
        for number, label in enumerate(fmap.labels):
            columns[label][number::2] = torch.nan
        columns["w"] = columns["w"].abs()
        return columns

    settings = {"sample_weight": "w"} if weights else {}
    losses = []
    for on in (False, True):
        elsewhere(on)
        model = small_model("STEMNet", fmap, **settings)
        losses.append(losses_of_steps(model, fmap, 5, edit))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.parametrize("row_sparse", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_a_step_looks_at_no_number(name, row_sparse, elsewhere):
    """Fake tensors have shapes and no numbers: whatever waits for one, or for a shape, raises."""
    elsewhere()
    fmap = feature_map(MIXED)
    model = small_model(name, fmap, embedding_regularizer=1e-2, row_sparse=row_sparse)
    with FakeTensorMode(allow_non_fake_inputs=True):
        columns = {key: x + 0 for key, x in batch(fmap).items()}
        for _ in range(2):
            assert model.train_step(columns).shape == ()


def test_fake_tensors_do_catch_a_look():
    fmap = feature_map(MIXED)
    model = small_model("STEMNet", fmap)
    with FakeTensorMode(allow_non_fake_inputs=True):
        columns = {key: x + 0 for key, x in batch(fmap).items()}
        with pytest.raises(DataDependentOutputException):
            model.train_step(columns)
