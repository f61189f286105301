"""The encoder of a field in several tables: one of its own in each, as FuxiCTR's in one."""

import pytest
import torch

from fuxictr_stem.models.encoders import FieldEncoder
from tests.support.small_models import categorical, sequence

TABLES, DIM = 3, 4
POOL, SUM = "layers.MaskedAveragePooling()", "layers.MaskedSumPooling()"


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (categorical(9, feature_encoder="nn.Linear(4, 5)"), (6, TABLES * DIM)),
        (sequence(9, 7, feature_encoder=POOL), (6, 7, TABLES * DIM)),
        (sequence(9, 7, feature_encoder=[SUM, "nn.Linear(4, 5)"]), (6, 7, TABLES * DIM)),
        (
            sequence(9, 7, feature_encoder=["nn.Linear(4, 5, bias=False)", POOL]),
            (6, 7, TABLES * DIM),
        ),
        ({"type": "embedding", "pretrain_dim": 8}, (6, 8)),
        (
            {
                "type": "embedding",
                "pretrain_dim": 8,
                "feature_encoder": ["nn.Linear(8, 5)", "nn.Linear(5, 2)"],
            },
            (6, 8),
        ),
    ],
)
def test_each_table_is_encoded_by_weights_of_its_own(spec, shape):
    together = FieldEncoder.from_spec("f", spec, DIM, TABLES)
    x = torch.randn(shape)
    if spec["type"] == "sequence":
        x[0] = 0  # nothing but padding
        x[1:, 4:] = 0
        x[1, 2, :DIM] = 0  # a token without a vector in the first table alone
    out = together(x).unflatten(1, (TABLES, -1))
    assert out.shape == (6, TABLES, together.output_dim)
    for table in range(TABLES):
        alone = FieldEncoder.from_spec("f", spec, DIM, 1)
        for ours, theirs in zip(alone.parameters(), together.parameters(), strict=True):
            ours.data.copy_(theirs[table : table + 1])
        part = x if spec["type"] == "embedding" else x.unflatten(-1, (TABLES, DIM))[..., table, :]
        torch.testing.assert_close(alone(part), out[:, table])


def test_a_field_without_an_encoder_has_none():
    assert FieldEncoder.from_spec("f", categorical(9), DIM, TABLES) is None
