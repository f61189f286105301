"""How the losses of the tasks are weighed: by numbers, by learnt ones, by their rates."""

import math

import numpy as np
import pytest
import torch

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.models.base import parameter_counts
from fuxictr_stem.training.loss_weights import DynamicWeightAverage, weights_of
from fuxictr_stem.training.trainer import Trainer
from tests.support.small_models import (
    SMALL,
    WITHOUT_ORDER,
    Batches,
    assert_all_close,
    batch,
    feature_map,
    loss_gradients,
    permute_tasks,
    small_model,
)

ALL = sorted(SMALL)
BINARY, REGRESSION = "binary_classification", "regression"
NAN = float("nan")


@pytest.mark.parametrize("loss_weight", ["EQ", "UW", "DWA", [1.0, 3.0]])
@pytest.mark.parametrize("name", ALL)
def test_a_batch_without_a_tasks_label_teaches_it_nothing(name, loss_weight):
    fmap = feature_map()
    model = small_model(name, fmap, loss_weight=loss_weight)
    columns = {**batch(fmap), "y1": torch.full((16,), NAN)}
    found = loss_gradients(model, columns)
    assert all(torch.isfinite(value).all() for value in found.values())
    losses = model.task_losses(model(columns), model.get_labels(columns))
    assert losses[1].item() == 0
    model.zero_grad()
    model.weighted_losses(model(columns), model.get_labels(columns))[0].backward()
    alone = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    assert_all_close(found, alone)
    if name != "ESMM":
        assert not found["towers.layers.0.weight"][1].any()
    model.train_step(columns)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_equal_weights_leave_no_trace_in_the_weights():
    fmap = feature_map()
    plain = small_model("MMoE", fmap)
    fixed = small_model("MMoE", fmap, loss_weight=[1, 2])
    assert plain.state_dict().keys() == fixed.state_dict().keys()
    assert not [key for key in plain.state_dict() if "task_weights" in key]
    uncertain = small_model("MMoE", fmap, loss_weight="UW")
    assert parameter_counts(uncertain)["dense"] == parameter_counts(plain)["dense"] + 2


@pytest.mark.parametrize("weights", [[0.5, 3.0], {"y1": 3.0, "y0": 0.5}])
@pytest.mark.parametrize("name", ALL)
def test_numbers_weigh_the_losses(name, weights):
    fmap = feature_map()
    model = small_model(name, fmap, loss_weight=weights)
    columns = batch(fmap)
    first, second = model.task_losses(model(columns), model.get_labels(columns))
    found = model.add_loss(model(columns), model.get_labels(columns))
    torch.testing.assert_close(found, 0.5 * first + 3 * second)


def test_uncertainty_weights_take_the_steps_of_their_equations():
    """Two steps of plain gradient descent on exp(-s) L + s / 2, of a regression exp(-s) L / 2 + s / 2."""
    fmap = feature_map()
    model = small_model(
        "MMoE",
        fmap,
        loss_weight="UW",
        task=[BINARY, REGRESSION],
        optimizer="SGD",
        learning_rate=0.1,
        net_regularizer=0.5,
        max_gradient_norm=1e9,
    )
    factors, s = np.array([1.0, 0.5]), np.array([0.3, -0.2])
    with torch.no_grad():
        model.task_weights.log_variances.copy_(torch.tensor(s))
    for seed in range(2):
        columns = batch(fmap, seed=seed)
        with torch.no_grad():
            y = model.get_labels(columns)
            losses = np.array([loss.item() for loss in model.task_losses(model(columns), y)])
            expected = (factors * np.exp(-s) * losses + s / 2).sum()
            assert model.add_loss(model(columns), y).item() == pytest.approx(expected, rel=1e-5)
        model.train_step(columns)
        s = s - 0.1 * (0.5 - factors * np.exp(-s) * losses)
        found = model.task_weights.log_variances.detach().numpy()
        np.testing.assert_allclose(found, s, rtol=1e-5)


def test_dynamic_weights_are_their_equation():
    weights = DynamicWeightAverage(2)
    present = torch.tensor([True, True])
    epochs = [[(4.0, 1.0), (2.0, 3.0)], [(2.0, 1.0), (1.0, 2.0)], [(9.0, 9.0)]]
    for epoch, losses in enumerate(epochs[:2]):
        for one in losses:
            weights.observe(torch.tensor(one), present, epoch)
            assert weights.weights().tolist() == [1.0, 1.0]
    weights.observe(torch.tensor(epochs[2][0]), present, 2)
    # Means 3 and 2, then 1.5 and 1.5.
    rates = np.exp(np.array([1.5 / 3, 1.5 / 2]) / 2)
    expected = 2 * rates / rates.sum()
    np.testing.assert_allclose(weights.weights(), expected, rtol=1e-6)
    found = weights(torch.tensor([5.0, 7.0]), present)
    np.testing.assert_allclose(found, expected * [5, 7], rtol=1e-6)


def test_dynamic_weights_of_a_task_without_samples_stay():
    weights = DynamicWeightAverage(2)
    for epoch in range(4):
        weights.observe(torch.tensor([1.0 / (epoch + 1), 0.0]), torch.tensor([True, False]), epoch)
    assert torch.isfinite(weights.weights()).all()
    expected = np.exp(np.array([(1 / 3) / (1 / 2), 1]) / 2)
    np.testing.assert_allclose(weights.weights(), 2 * expected / expected.sum(), rtol=1e-6)


def test_dynamic_weights_average_over_the_batches_that_have_the_task():
    weights, sometimes = DynamicWeightAverage(2), torch.tensor([True, False])
    for epoch, loss in enumerate((3.0, 1.5, 1.0)):
        weights.observe(torch.tensor([3.0, loss]), torch.tensor([True, True]), epoch)
        if epoch == 0:
            weights.observe(torch.tensor([3.0, 0.0]), sometimes, epoch)
    expected = np.exp(np.array([1, 1.5 / 3]) / 2)
    np.testing.assert_allclose(weights.weights(), 2 * expected / expected.sum(), rtol=1e-6)


def test_dynamic_weights_take_no_note_of_losses_outside_training():
    fmap = feature_map()
    model = small_model("MMoE", fmap, loss_weight="DWA")
    columns = batch(fmap)
    model.eval()
    model.add_loss(model(columns), model.get_labels(columns))
    assert model.task_weights.counts_T.tolist() == [0, 0]
    model.train()
    model.add_loss(model(columns), model.get_labels(columns))
    assert model.task_weights.counts_T.tolist() == [1, 1]


def test_dynamic_weights_count_the_epochs_of_either_loop(tmp_path):
    """FuxiCTR's fit and ours weigh alike, and what they saved goes on as if there had been no stop."""
    fmap = feature_map()
    train = Batches(*(batch(fmap, size=32, seed=s) for s in range(3)))
    models = []
    for loop in ("fuxictr", "ours"):
        model = small_model(
            "SharedBottom",
            fmap,
            loss_weight="DWA",
            model_root=str(tmp_path / loop),
            save_best_only=False,
            early_stop_patience=99,
            learning_rate=0.05,
        )
        (tmp_path / loop / "toy").mkdir(parents=True)
        if loop == "ours":
            Trainer(model, model.tasks).fit(train, train, epochs=4)
        else:
            model.fit(train, epochs=4, validation_data=train)
        models.append(model)
    fuxictrs, ours = models
    for key, value in fuxictrs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, msg=key)
    weights = ours.task_weights.weights()
    assert (weights - 1).abs().min() > 1e-3
    assert weights.sum().item() == pytest.approx(2)
    assert int(ours.task_weights.epoch) == 3
    assert ours.task_weights.counts_T.tolist() == [3, 3]

    again = small_model("SharedBottom", fmap, loss_weight="DWA", model_root=str(tmp_path))
    again.load_weights(ours.checkpoint)
    torch.testing.assert_close(again.task_weights.weights(), weights)


@pytest.mark.parametrize(
    "params",
    [
        {"loss_weight": "UW"},
        {"loss_weight": "DWA"},
        {"loss_weight": {"y0": 0.2, "y1": 1.0, "y2": 3.0}},
        {"gradient_balancing": "UPGrad"},
        {"sample_spaces": {"y1": "y0"}, "sample_weight": "w"},
    ],
)
@pytest.mark.parametrize("name", [n for n in WITHOUT_ORDER if n != "ESMM"])
def test_permuting_tasks_permutes_their_weights(name, params):
    """Three epochs of one batch, from the same start with the tasks in another order."""
    fmap = feature_map(labels=3)
    order = [2, 0, 1]
    model = small_model(name, fmap, task_labels=fmap.labels, **params)
    twin = small_model(name, fmap, task_labels=[fmap.labels[i] for i in order], **params)
    permute_tasks(model, twin, order)
    if params.get("loss_weight") == "UW":
        for one in (model, twin):
            torch.nn.init.zeros_(one.task_weights.log_variances)
    for epoch in range(4):
        columns = batch(fmap, seed=epoch)
        columns |= {"w": torch.arange(16) % 3.0}
        columns["y2"][epoch] = NAN
        for label in fmap.labels:
            ours, theirs = model(columns)[f"{label}_pred"], twin(columns)[f"{label}_pred"]
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        for one in (model, twin):
            one._epoch_index = epoch
            one.train_step(columns)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss_weight": "dwa"}, "found 'dwa'. Did you mean 'DWA'"),
        ({"loss_weight": [1.0]}, r"has 1 entries, but 2 labels are trained \(y0, y1\)"),
        ({"loss_weight": [1.0, -2.0]}, r"numbers >= 0.*found \[1.0, -2.0\]"),
        ({"loss_weight": [1.0, math.inf]}, r"numbers >= 0.*found \[1.0, inf\]"),
        ({"loss_weight": [0, 0]}, "is 0 for every task"),
        (
            {"loss_weight": {"y0": 1.0}},
            r"one number for each label .* \(y0, y1\), but differs in y1",
        ),
        ({"sample_spaces": {"y9": "y0"}}, "sample_spaces: 'y9' is not trained"),
        ({"sample_spaces": {"y1": "y1"}}, "'y1' cannot be its own sample space"),
        ({"gradient_balancing": "pcgrad"}, "found 'pcgrad'. Did you mean 'PCGrad'"),
    ],
)
def test_wrong_arguments_are_named(params, message):
    with pytest.raises(ConfigError, match=message):
        small_model("MMoE", feature_map(), **params)


def test_weights_of_a_mapping_follow_the_tasks():
    weights = weights_of({"b": 2, "a": 1}, {"a": BINARY, "b": BINARY})
    assert weights.weights_T.tolist() == [1, 2]
