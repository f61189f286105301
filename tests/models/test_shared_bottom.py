"""Shared bottom against an oracle written from its equation."""

import pytest
import torch

from tests.support.oracle_models import assert_same, lookup, mlp
from tests.support.small_models import batch, feature_map, small_model


def bottom_oracle(model, columns, row):
    bottom = mlp(model.bottom, 0, lookup(model, columns, row, 0), False)
    return [torch.sigmoid(mlp(model.towers, i, bottom, True)[0]) for i in range(model.num_tasks)]


@pytest.mark.parametrize("tasks", [1, 3])
def test_shared_bottom(tasks):
    fmap = feature_map(labels=tasks)
    model = small_model("SharedBottom", fmap).double()
    columns = batch(fmap, size=5)
    assert_same(model, columns, lambda row: bottom_oracle(model, columns, row))
