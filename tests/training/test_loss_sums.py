"""Train losses of each task, and the warning of one that dwarfs another."""

import json
import logging
import math

import numpy as np
import pytest
import torch
import yaml

from fuxictr_stem.training.trainer import Trainer
from tests.support.crashes import Crash
from tests.support.small_models import Batches, batch, feature_map, small_model

BINARY, REGRESSION = "binary_classification", "regression"


def binary_losses(model, columns, label):
    """Cross entropies in numpy by row, before the step."""
    model.eval()
    with torch.no_grad():
        p = model.forward(columns)[f"{label}_pred"].double().numpy()[:, 0]
    model.train()
    y = columns[label].numpy()
    return -np.where(y == 1, np.log(p), np.log1p(-p))


@pytest.mark.parametrize("weighted", [False, True])
def test_train_losses_are_means_over_the_rows_of_each_task(weighted, tmp_path, caplog):
    """Batches of other sizes, missing labels, weights of rows: a mean of batch means is another number."""
    fmap = feature_map(labels=3)
    model = small_model(
        "STEMNet",
        fmap,
        model_root=str(tmp_path),
        learning_rate=0.05,
        loss_weight=[1.0, 3.0, 0.5],
        embedding_regularizer=0.1,
        sample_weight="w" if weighted else None,
    )
    batches = [batch(fmap, size=size, seed=size) for size in (32, 32, 7)]
    for number, columns in enumerate(batches):
        columns["y1"][number + 2 :] = math.nan
        columns["y2"][:] = math.nan
        columns["w"] = (
            torch.rand(len(columns["y0"])) if weighted else torch.ones(len(columns["y0"]))
        )
    rows = {"y0": [], "y1": []}
    step = model.train_step

    def seen(columns):
        for label, found in rows.items():
            present = ~torch.isnan(columns[label]).numpy()
            losses = binary_losses(model, columns, label)[present]
            found += zip(losses, columns["w"].double().numpy()[present], strict=True)
        return step(columns)

    model.train_step = seen
    caplog.set_level(logging.INFO)
    valid = {**batch(fmap, size=64), "w": torch.ones(64)}
    history = Trainer(model, dict.fromkeys(fmap.labels, BINARY)).fit(
        Batches(*batches), Batches(valid), epochs=2
    )
    assert len(rows["y0"]) == 2 * 71
    assert len(rows["y1"]) == 2 * (2 + 3 + 4)
    for epoch, record in enumerate(history.evaluations):
        found = record["train_losses"]
        assert list(found) == ["y0", "y1"], "a task without a sample has no loss"
        for label, both in rows.items():
            half = len(both) // 2
            losses, weights = np.array(both[epoch * half : (epoch + 1) * half]).T
            assert found[label] == pytest.approx(np.average(losses, weights=weights), rel=1e-5)
        text = ", ".join(f"{label} {loss:.6f}" for label, loss in found.items())
        assert f"train loss {record['train_loss']:.6f}, {text}; valid " in caplog.text
    assert model.loss_sums.sums_2T.sum() == 0
    assert not any("sums" in name for name in model.state_dict()), "no part of the weights"


def test_a_resumed_run_has_the_same_train_losses(toy):
    """Stopped between two evaluations, so that a part of the sums comes from the state."""
    unbroken, broken = toy("unbroken"), toy("broken")
    assert unbroken.run() == 0
    with pytest.raises(Crash):
        broken.run(crash_at=7)
    assert broken.run("--resume") == 0
    found = [
        [one["train_losses"] for one in one.figures()["evaluations"]] for one in (unbroken, broken)
    ]
    assert found[0] == found[1]
    assert len(found[0]) > 1
    assert all(set(losses) == {"like", "view"} for losses in found[0])
    json.dumps(found, allow_nan=False)


def first_warnings(caplog, tmp_path, scale, rows=64, **params):
    """Train a click beside a number of a scale, and return the warnings."""
    fmap = feature_map()
    types = {"y0": REGRESSION, "y1": BINARY}
    model = small_model(
        "SharedBottom",
        fmap,
        model_root=str(tmp_path),
        task=list(types.values()),
        loss=["mse_loss", "binary_crossentropy"],
        metrics=["MSE", "AUC"],
        monitor="AUC",
        **params,
    )
    with torch.no_grad():
        # As a fresh model predicts: click .5, and a number near 0.
        for parameter in model.towers.parameters():
            parameter.mul_(0.01)
    columns = batch(fmap, size=rows)
    columns["y0"] = scale * torch.rand(rows, generator=torch.Generator().manual_seed(1))
    caplog.set_level(logging.WARNING)
    Trainer(model, types).fit(Batches(columns), Batches(columns), epochs=1)
    expected = float((columns["y0"].double() ** 2).mean())
    return [
        r.getMessage() for r in caplog.records if "begins with a loss" in r.getMessage()
    ], expected


def test_raw_seconds_beside_clicks_are_warned_of_with_a_cure_that_works(caplog, tmp_path):
    (message,), squares = first_warnings(caplog, tmp_path, 300)
    assert "'y0'" in message
    assert "'y1'" in message
    assert "scale the label 'y0'" in message
    number = float(message.split("a loss of ")[1].split(",")[0])
    assert number == pytest.approx(squares, rel=1e-2)
    ratio = float(message.split(", ")[1].split(" times")[0])
    assert ratio == pytest.approx(squares / math.log(2), rel=2e-2)
    # Both cures, as a user would write them.
    line = yaml.safe_load("{" + message[message.index("loss_weight") :].rstrip(".") + "}")
    weights = {label: float(weight) for label, weight in line["loss_weight"].items()}
    assert weights["y0"] * squares == pytest.approx(math.log(2), rel=0.1)
    caplog.clear()
    assert first_warnings(caplog, tmp_path, 300, loss_weight=weights)[0] == []
    assert first_warnings(caplog, tmp_path, 300 / 87)[0] == []


@pytest.mark.parametrize(("scale", "warned"), [(6.0, 0), (7.0, 1), (0.35, 0), (0.2, 1)])
def test_twenty_times_is_the_limit_in_either_direction(scale, warned, caplog, tmp_path):
    """The mean square is scale^2 / 3 against log 2: 17 and 24 times, and 17 and 52 times below."""
    found, squares = first_warnings(caplog, tmp_path, scale, rows=4096)
    ratio = max(squares / math.log(2), math.log(2) / squares)
    assert (ratio > 20) == bool(warned)
    assert len(found) == warned


@pytest.mark.parametrize("loss_weight", ["UW", "DWA"])
def test_learnt_weights_need_thousands_of_steps_so_they_are_no_cure(loss_weight, caplog, tmp_path):
    (message,), _ = first_warnings(caplog, tmp_path, 300, loss_weight=loss_weight)
    assert "scale the label 'y0'" in message
    assert ("loss_weight" in message) == (loss_weight == "DWA")


def test_a_task_whose_samples_come_later_is_looked_at_then(caplog, tmp_path):
    fmap = feature_map(labels=3)
    types = {"y0": BINARY, "y1": BINARY, "y2": REGRESSION}
    model = small_model(
        "SharedBottom",
        fmap,
        model_root=str(tmp_path),
        task=list(types.values()),
        loss=["binary_crossentropy", "binary_crossentropy", "mse_loss"],
        metrics=["MSE", "AUC"],
        monitor="AUC",
    )
    batches = [batch(fmap, seed=seed) for seed in range(6)]
    for number, columns in enumerate(batches):
        columns["y2"] = torch.full((16,), 1e3 if number == 2 else math.nan)
    valid = batch(fmap)
    Trainer(model, types).fit(Batches(*batches), Batches(valid), epochs=1)
    assert caplog.text.count("begins with a loss") == 1
    assert "'y2' begins with" in caplog.text
