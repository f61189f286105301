"""Which samples a task learns from, and with which weight."""

import copy

import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch.nn import functional

from tests.support.small_models import (
    SMALL,
    Batches,
    assert_all_close,
    batch,
    feature_map,
    loss_gradients,
    small_model,
    some_rows,
)

ALL = sorted(SMALL)
BINARY, REGRESSION = "binary_classification", "regression"
NAN = float("nan")


@pytest.mark.parametrize("name", ALL)
def test_a_task_learns_from_the_rows_that_have_its_label(name):
    """The gradient is that of task 0 on all rows and of task 1 on the rows with its label."""
    fmap = feature_map()
    model = small_model(name, fmap)
    columns = batch(fmap)
    has = torch.arange(16) % 3 != 0
    some = {**columns, "y1": torch.where(has, columns["y1"], NAN)}
    found = loss_gradients(model, some)
    expected = {key: torch.zeros_like(value) for key, value in found.items()}
    for task, one in ((0, columns), (1, some_rows(columns, has))):
        model.zero_grad()
        model.task_losses(model(one), model.get_labels(one))[task].backward()
        for key, p in model.named_parameters():
            if p.grad is not None:
                expected[key] += p.grad
    assert_all_close(found, expected)
    with torch.no_grad():
        pred = model(columns)["y1_pred"].flatten()[has]
        loss = model.task_losses(model(some), model.get_labels(some))[1]
    assert loss.item() == pytest.approx(log_loss(columns["y1"][has], pred.double()), rel=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_rows_without_labels_are_no_rows(name):
    """Three steps with such rows among the others end as three steps without them."""
    fmap = feature_map()
    one = small_model(name, fmap)
    twin = copy.deepcopy(one)
    for seed in range(3):
        columns = batch(fmap, seed=seed)
        has = torch.arange(16) % 4 != 2
        blank = {f"y{i}": torch.where(has, columns[f"y{i}"], NAN) for i in range(2)}
        ours = one.train_step({**columns, **blank})
        theirs = twin.train_step(some_rows(columns, has))
        torch.testing.assert_close(ours, theirs)
    assert_all_close(dict(one.named_parameters()), dict(twin.named_parameters()))


@pytest.mark.parametrize("task", [BINARY, REGRESSION])
@pytest.mark.parametrize("loss", [None, "huber_loss"])
def test_missing_labels_of_every_loss(task, loss):
    fmap = feature_map()
    columns = batch(fmap)
    columns["y0"][5] = NAN
    if task == BINARY:
        loss = None
    model = small_model("MMoE", fmap, task=task, loss=loss)
    y_pred = model(columns)["y0_pred"].flatten()
    has = torch.arange(16) != 5
    by_name = {BINARY: functional.binary_cross_entropy, REGRESSION: functional.mse_loss}
    expected = (functional.huber_loss if loss else by_name[task])(y_pred[has], columns["y0"][has])
    found = model.task_losses(model(columns), model.get_labels(columns))[0]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ALL)
def test_a_weight_of_two_is_the_row_twice(name):
    fmap = feature_map()
    weighted = small_model(name, fmap, sample_weight="w")
    plain = small_model(name, fmap)
    columns = batch(fmap)
    columns["y1"][3:6] = NAN
    times = torch.tensor([2, 1, 0, 3] * 4)
    found = loss_gradients(weighted, {**columns, "w": times.float() / 5})
    assert_all_close(
        found, loss_gradients(plain, some_rows(columns, torch.arange(16).repeat_interleave(times)))
    )
    assert not all(torch.allclose(v, loss_gradients(plain, columns)[k]) for k, v in found.items())


def test_a_batch_whose_weights_are_all_zero_teaches_nothing():
    fmap = feature_map()
    model = small_model("MMoE", fmap, sample_weight="w", loss_weight="UW")
    found = loss_gradients(model, {**batch(fmap), "w": torch.zeros(16)})
    assert all((value == 0).all() for value in found.values())


@pytest.mark.parametrize("name", ALL)
def test_a_sample_space_is_the_rows_where_its_label_is_1(name):
    fmap = feature_map()
    columns = {**batch(fmap, size=64), "click": torch.arange(64) % 3}
    columns["click"] = columns["click"].float()
    columns["click"][7] = NAN
    inside = columns["click"] == 1
    model = small_model(name, fmap, sample_spaces={"y1": "click"})
    plain = small_model(name, fmap)
    some = {**columns, "y1": torch.where(inside, columns["y1"], NAN)}
    assert_all_close(loss_gradients(model, columns), loss_gradients(plain, some))

    results = model.evaluate(
        Batches(some_rows(columns, slice(40)), some_rows(columns, slice(40, 64)))
    )
    with torch.no_grad():
        y_pred = model(columns)["y1_pred"].flatten()[inside].double()
    y_true = columns["y1"][inside]
    assert results["y1_AUC"] == pytest.approx(roc_auc_score(y_true, y_pred))
    assert results["y1_logloss"] == pytest.approx(log_loss(y_true, y_pred))
    everywhere = plain.evaluate(Batches(columns))
    assert results["y0_AUC"] == pytest.approx(everywhere["y0_AUC"])
    assert results["y1_AUC"] != pytest.approx(everywhere["y1_AUC"], abs=1e-4)
