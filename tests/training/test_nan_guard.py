"""Losses, predictions and gradients that are not finite stop a run before they do harm."""

import math

import pytest
import torch

from fuxictr_stem.errors import TrainingError
from fuxictr_stem.training.trainer import Trainer
from tests.support.plain_models import PlainSharedBottom
from tests.support.small_models import (
    Batches,
    batch,
    categorical,
    feature_map,
    numeric,
    small_model,
)


def plain_model(fmap, folder, **params):
    return PlainSharedBottom(fmap, 3, [7, 5], [4], model_root=str(folder), **params)


def ours(fmap, folder, **params):
    return small_model("SharedBottom", fmap, model_root=str(folder), **params)


@pytest.mark.parametrize("make", [ours, plain_model])
def test_a_loss_that_is_not_finite_stops_before_the_step_with_task_and_batch(make, tmp_path):
    fmap = feature_map()
    types = ["regression", "binary_classification"]
    losses = ["mse_loss", "binary_crossentropy"]
    model = make(fmap, tmp_path, task=types, loss=losses)
    good, bad = batch(fmap), batch(fmap, seed=1)
    bad["y0"][3] = math.inf
    assert_stopped_unchanged(
        model,
        (good, bad),
        r"before step 2 .epoch 1, batch 2.: the loss is not finite: task 'y0', inf",
        dict(zip(fmap.labels, types, strict=True)),
    )


@pytest.mark.parametrize("make", [ours, plain_model])
def test_predictions_that_are_not_finite_stop_before_the_step(make, tmp_path):
    fmap = feature_map({"a": categorical(9), "n": numeric()})
    model = make(fmap, tmp_path)
    good, bad = batch(fmap), batch(fmap, seed=1)
    bad["n"][3] = math.nan
    assert_stopped_unchanged(
        model,
        (good, good, bad),
        r"before step 3 .epoch 1, batch 3.: predictions are not finite: task 'y0' in 1 rows and task",
        dict.fromkeys(fmap.labels, "binary_classification"),
    )


def assert_stopped_unchanged(model, batches, message, tasks):
    weights = []

    class Watched(Batches):
        def __iter__(self):
            for columns in super().__iter__():
                weights[:] = [p.detach().clone() for p in model.parameters()]
                yield columns

    with pytest.raises(TrainingError, match=message):
        Trainer(model, tasks).fit(Watched(*batches), Batches(batches[0]), epochs=1)
    for before, after in zip(weights, model.parameters(), strict=True):
        assert torch.equal(before, after)


def test_a_penalty_that_is_not_finite_is_told_from_the_tasks(tmp_path):
    fmap = feature_map()
    model = ours(fmap, tmp_path, net_regularizer=1e38)
    for parameter in model.towers.parameters():
        parameter.data.fill_(1e10)
        break
    with pytest.raises(TrainingError, match="not finite: by its penalties or weights"):
        Trainer(model, model.tasks).fit(Batches(batch(fmap)), Batches(batch(fmap)), epochs=1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "SGD"},
        {"row_sparse": True},
        {"loss_weight": "UW"},
        {"embedding_regularizer": 0.1},
        {"max_gradient_norm": 1e30},
    ],
)
def test_a_gradient_beyond_float32_stops_before_the_step(settings, tmp_path):
    """Clipped, it would be zeros: a run that goes to its end and learns nothing."""
    fmap = feature_map({"a": categorical(9), "n": numeric()})
    types = ["regression", "binary_classification"]
    model = ours(fmap, tmp_path, task=types, loss=["mse_loss", "binary_crossentropy"], **settings)
    good, bad = batch(fmap), batch(fmap, seed=1)
    for key in ("n", "y0"):
        bad[key] = bad[key] * 1e18
    assert_stopped_unchanged(
        model,
        (good, bad),
        r"before step 2 .epoch 1, batch 2.: the gradient is not finite .*: task 'y0'\. Lower",
        dict(zip(fmap.labels, types, strict=True)),
    )
