"""The figures of a training: what they mean, and that they change nothing."""

import math

import pytest
import torch

from fuxictr_stem.analysis.gate_weights import gate_places, gate_weights
from fuxictr_stem.registry import list_models
from fuxictr_stem.training.trackers import delivery
from fuxictr_stem.training.trackers.tracker import TrackedRun
from fuxictr_stem.training.trackers.tracking import Tracking
from fuxictr_stem.training.trainer import Trainer
from tests.support.plain_models import PlainSharedBottom
from tests.support.small_models import Batches, batch, feature_map, many_labels, small_model
from tests.support.trackers import KeptPoints, Service, figures_of


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(delivery, "BETWEEN_SECONDS", 0.001)


def columns(fmap, steps=7):
    return Batches(*(batch(fmap, size=32, seed=s) for s in range(steps)))


def trained(model, train, valid, folder, steps=2, epochs=2, tracked=True):
    """Train a model; return its points' figures, and the history."""
    service = Service()
    with Tracking(
        [KeptPoints(service)] if tracked else [], TrackedRun("a", "toy", None, folder), steps
    ) as tracking:
        tracking.gates = list(gate_places(model))
        history = Trainer(model, model_tasks(model), tracking=tracking).fit(train, valid, epochs)
        tracking.end({"test": {}})
    return figures_of(service.runs["run 0"]), history


def model_tasks(model):
    return dict.fromkeys(model.feature_map.labels, "binary_classification")


def recorded(model):
    """Have a model note, by step, its loss, its tasks' losses and its gradient's norm."""
    take, notes = model.train_step, []

    def train_step(columns):
        with torch.random.fork_rng():
            model.zero_grad()
            outputs, labels = model.forward(columns), model.get_labels(columns)
            tasks = [x.item() for x in model.task_losses(outputs, labels)]
            model.compute_loss(outputs, labels).backward()
            squares = [p.grad.square().sum() for p in model.parameters() if p.grad is not None]
            norm = float(sum(squares).sqrt())
            weights = model.task_weights.weights()
            weights = None if weights is None else weights.tolist()
        loss = take(columns)
        notes.append((loss.item(), tasks, norm, weights))
        return loss

    model.train_step = train_step
    return notes


@pytest.mark.parametrize("optimizer", ["adam", "SGD"])
@pytest.mark.parametrize("loss_weight", ["UW", "DWA"])
def test_the_figures_are_those_of_the_steps(loss_weight, optimizer, tmp_path):
    fmap = feature_map()
    model = small_model(
        *("STEMNet", fmap),
        model_root=str(tmp_path),
        loss_weight=loss_weight,
        optimizer=optimizer,
        learning_rate=0.03,
        early_stop_patience=9,
        embedding_regularizer=1e-2,
        max_gradient_norm=0.1,
    )
    notes = recorded(model)
    valid = Batches(batch(fmap, size=64, seed=9), batch(fmap, size=10, seed=8))
    figures, history = trained(model, columns(fmap), valid, tmp_path, steps=3, epochs=4)
    at = [3, 6, 7, 9, 12, 14, 15, 18, 21, 24, 27, 28]
    assert list(figures["train/loss"]) == at
    for before, step in zip([0, *at], at, strict=False):
        since = notes[before:step]
        mean = sum(loss for loss, *_ in since) / len(since)
        assert figures["train/loss"][step] == pytest.approx(mean, rel=1e-6)
        for task, label in enumerate(fmap.labels):
            mean = sum(tasks[task] for _, tasks, *_ in since) / len(since)
            assert figures[f"train/{label}_loss"][step] == pytest.approx(mean, rel=1e-5)
        norm = notes[step - 1][2]
        assert norm > 0.1, "so that clipping would show"
        assert figures["train/gradient_norm"][step] == pytest.approx(norm, rel=1e-4)
        # UW's weights are those after the step, the next step's before; DWA's are of the epoch.
        if step < 28 and (loss_weight == "UW" or step % 7):
            weights = notes[step][3]
            found = [figures[f"weight/{label}"][step] for label in fmap.labels]
            assert found == pytest.approx(weights, rel=1e-6)
    assert len({*figures["weight/y0"].values()}) > 1
    for record in history.evaluations:
        step = record["step"]
        assert figures["train/learning_rate"][step] == record["learning_rate"]
        for name, value in record["valid"].items():
            assert figures[f"valid/{name}"][step] == value
    assert list(figures["valid/y0_AUC"]) == [7, 14, 21, 28]
    assert all(value > 0 for value in figures["speed/samples_per_second"].values())
    assert figures["memory/peak_rss_bytes"][28] > 2**20


@pytest.mark.parametrize("name", list_models())
def test_tracking_changes_no_weight_and_gates_are_those_of_the_analysis(name, tmp_path):
    left = []
    for tracked in (True, False):
        fmap = feature_map(labels=many_labels(name))
        torch.manual_seed(3)
        model = small_model(
            name, fmap, model_root=str(tmp_path), net_dropout=0.2, learning_rate=0.03
        )
        valid = Batches(batch(fmap, size=64, seed=9), batch(fmap, size=10, seed=8))
        figures, history = trained(model, columns(fmap), valid, tmp_path, 2, 1, tracked)
        left.append((model.state_dict(), history.evaluations))
        if not tracked:
            assert figures == {}
            continue
        # One evaluation, whose weights are the best and so the model's at the end.
        expected = {}
        for place in gate_weights(model, valid):
            prefix = f"gate/{place.place.replace(' ', '_')}"
            for gate, reads, means in zip(place.gates, place.reads, place.mean, strict=True):
                for expert in reads.nonzero()[0]:
                    expected[f"{prefix}/{gate}/{place.experts[expert]}"] = means[expert]
        found = {key: value[7] for key, value in figures.items() if key.startswith("gate/")}
        assert found == pytest.approx(expected, rel=1e-5)
        assert bool(found) == any(True for _ in gate_places(model))
        assert all(place.bank.watch is None for place in gate_places(model))
    (first, evaluations), (second, others) = left
    assert evaluations == others
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key


def test_a_model_that_is_not_ours_is_tracked_by_what_it_shows(tmp_path):
    fmap = feature_map()
    model = PlainSharedBottom(fmap, 3, [7, 5], [4], model_root=str(tmp_path))
    figures, history = trained(model, columns(fmap), columns(fmap, 2), tmp_path, steps=5)
    assert list(figures["train/loss"]) == [5, 7, 10, 14]
    assert figures["valid/AUC"] == {
        record["step"]: record["valid"]["AUC"] for record in history.evaluations
    }
    assert "train/gradient_norm" not in figures


def test_the_evaluation_of_a_run_without_any_is_in_the_point_of_its_last_step(tmp_path):
    fmap = feature_map()
    model = small_model("SharedBottom", fmap, model_root=str(tmp_path), eval_steps=1000)
    figures, _ = trained(model, columns(fmap, 4), columns(fmap, 2), tmp_path, steps=2, epochs=1)
    assert list(figures["train/loss"]) == [2, 4]
    assert list(figures["valid/AUC"]) == [4]


def test_a_task_without_a_sample_has_no_loss_and_labels_of_any_text_have_a_name(tmp_path):
    fmap = feature_map()
    fmap.labels = ["a/b c", "y1"]
    model = small_model("SharedBottom", fmap, model_root=str(tmp_path), task_labels=fmap.labels)
    train = columns(fmap, 4)
    for index in (0, 1):
        train.batches[index]["a/b c"][:] = math.nan
    valid = Batches(batch(fmap, size=32, seed=9))
    figures, _ = trained(model, train, valid, tmp_path, steps=2, epochs=1)
    assert list(figures["train/a_b_c_loss"]) == [4]
    assert list(figures["train/y1_loss"]) == [2, 4]
    assert "valid/a_b_c_AUC" in figures
