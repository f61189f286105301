"""STEM-Net with auxiliary labels, against the oracle of STEM-Net."""

import pytest

from fuxictr_stem.errors import ConfigError
from tests.support.oracle_models import assert_same, stem_oracle
from tests.support.small_models import batch, feature_map, small_model


@pytest.mark.parametrize("num_layers", [1, 2])
def test_stem_net_with_auxiliary_labels(num_layers):
    fmap = feature_map(labels=3)
    model = small_model("STEMAL", fmap, num_layers=num_layers, auxiliary_labels=["y0", "y2"])
    model = model.double()
    columns = batch(fmap, size=5)
    assert_same(
        model,
        columns,
        lambda row: stem_oracle(model, columns, row, "task_plus_shared", True, auxiliary=(0, 2)),
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["y00"], "'y00' is not trained.*Did you mean"),
        (["y0", "y1"], "Leave at least one main task"),
    ],
)
def test_auxiliary_labels_are_checked(labels, message):
    with pytest.raises(ConfigError, match=message):
        small_model("STEMAL", feature_map(), auxiliary_labels=labels)
