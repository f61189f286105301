"""The warning of a model that is worse than a constant on valid."""

import logging
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from fuxictr_stem.errors import DataError
from fuxictr_stem.training.evaluation import Predictions, warn_of_constants
from tests.support.project import result_of
from tests.support.small_models import Batches, batch, feature_map, small_model

BINARY, REGRESSION = "binary_classification", "regression"


@pytest.mark.parametrize(
    ("p", "warned"), [(0.3, False), (0.301, True), (0.02, True), ("informed", False)]
)
def test_a_logloss_above_the_constants_is_warned_of(p, warned, caplog):
    """The constant's is the entropy of the share of positives, .3: .6109 by its formula."""
    y = np.array([1.0] * 3 + [0.0] * 7 + [math.nan])
    pred = np.where(y == 1, 0.5, 0.2) if p == "informed" else np.full(11, p)
    pred[-1] = 0.999
    predictions = Predictions({"click": y}, {"click": pred}, None)
    warn_of_constants({"click": BINARY}, predictions, 1000, 0.01, False)
    assert bool(caplog.records) == warned
    if warned:
        entropy = -(0.3 * math.log(0.3) + 0.7 * math.log(0.7))
        loss = -(0.3 * math.log(p) + 0.7 * math.log(1 - p))
        text = caplog.records[0].getMessage()
        assert f"'click': its logloss on valid, {loss:.4g}, is above the {entropy:.4g}" in text
        assert "change learning_rate (0.01 now)" in text


def test_weights_of_rows_may_move_predictions_so_that_is_no_warning(caplog):
    """Positives that count five times: the right probability of one in five is .556, not .2."""
    caplog.set_level(logging.INFO)
    y, p = np.array([1.0] + [0.0] * 4), np.full(5, 5 / 9)
    warn_of_constants(
        {"click": BINARY}, Predictions({"click": y}, {"click": p}, None), 1000, 0.01, True
    )
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "sample_weight may cause" in record.getMessage()
    assert "normalizer" not in record.getMessage()


@pytest.mark.parametrize("y", [0.0, 1.0])
def test_a_split_of_one_class_has_no_constant_to_compare_with(y, caplog):
    predictions = Predictions({"click": np.full(4, y)}, {"click": np.full(4, 0.5)}, None)
    warn_of_constants({"click": BINARY}, predictions, 1000, 0.01, False)
    assert not caplog.records


@pytest.mark.parametrize(
    ("p", "steps", "level"), [(0.5, 99, "INFO"), (0.5, 100, "WARNING"), (0.02, 8, "WARNING")]
)
def test_a_model_of_a_few_steps_is_fresh_not_wrong(p, steps, level, caplog):
    caplog.set_level(logging.INFO)
    predictions = Predictions(
        {"click": np.array([1.0] * 3 + [0.0] * 7)}, {"click": np.full(10, p)}, None
    )
    warn_of_constants({"click": BINARY}, predictions, steps, 0.01, False)
    (record,) = caplog.records
    assert record.levelname == level
    assert ("train longer (epochs)" in record.getMessage()) == (level == "INFO")


def test_a_run_that_stays_above_the_constant_says_so(project):
    """A large learning rate is warned of; the project as it is, is not."""
    log = project.folder / "checkpoints" / "toy" / "toy_test.log"
    project.model |= {"early_stop_patience": 5, "epochs": 6}
    assert project.run() == 0
    assert "worse than a constant" not in log.read_text()
    project.model |= {"learning_rate": 3.0, "epochs": 2}
    assert project.run() == 0
    said, figures = log.read_text(), result_of(project)["valid"]
    for label in ("like", "view"):
        share = float(project.frames["valid"][label].mean())
        entropy = -(share * math.log(share) + (1 - share) * math.log(1 - share))
        assert figures[f"{label}_logloss"] > entropy
        assert f"Task '{label}': its logloss on valid" in said


def test_group_metrics_are_over_the_samples():
    fmap = feature_map()
    fmap.group_id = "user"
    columns = {**batch(fmap, size=60), "user": torch.arange(60) % 4}
    columns["y1"][::3] = torch.nan
    model = small_model("MMoE", fmap)
    found = model.evaluate(Batches(columns), ["gAUC"])["y1_gAUC"]
    with torch.no_grad():
        y_pred = model(columns)["y1_pred"].flatten()
    total = count = 0
    for user in range(4):
        own = (columns["user"] == user) & ~columns["y1"].isnan()
        total += own.sum().item() * roc_auc_score(columns["y1"][own], y_pred[own])
        count += own.sum().item()
    assert found == pytest.approx(total / count)


def test_a_split_without_a_sample_is_named():
    fmap = feature_map()
    columns = {**batch(fmap), "y1": torch.full((16,), torch.nan)}
    with pytest.raises(DataError, match="'y1' has no sample in this split.* all 16 rows"):
        small_model("MMoE", fmap).evaluate(Batches(columns))
