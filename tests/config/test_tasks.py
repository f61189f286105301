"""The settings of losses and samples: their normal forms, and one message for each mistake."""

import math
import sys

import pytest

from fuxictr_stem import registry
from fuxictr_stem.errors import ConfigError
from tests.support.config_files import REMOVE, Net, load, problems

EXPERIMENT = {"model": "SharedBottom", "num_experts": REMOVE}
LABELS = [
    {"name": "click", "dtype": "float"},
    {"name": "buy", "dtype": "float", "missing": math.nan},
    {"name": "weight", "dtype": "float"},
]
TWO = {"task_labels": ["buy", "click"]}


def settled(folder, **changes):
    return load(folder, {**EXPERIMENT, **TWO, **changes}, {"label_col": LABELS})


def test_the_defaults_change_nothing(tmp_path):
    params = settled(tmp_path)
    assert params["loss_weight"] == "EQ"
    for key in ("gradient_balancing", "sample_spaces", "sample_weight"):
        assert params[key] is None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("UW", "UW"),
        ("DWA", "DWA"),
        ([1, 0.5], [1.0, 0.5]),
        ({"click": 3, "buy": 0}, [0.0, 3.0]),
    ],
)
def test_loss_weight(tmp_path, given, found):
    assert settled(tmp_path, loss_weight=given)["loss_weight"] == found


def test_spaces_weights_and_balancing(tmp_path):
    params = settled(
        tmp_path,
        sample_spaces={"buy": "click"},
        sample_weight="weight",
        gradient_balancing="PCGrad",
    )
    assert params["sample_spaces"] == {"buy": "click"}
    assert params["gradient_balancing"] == "PCGrad"


def test_a_weight_is_no_task(tmp_path):
    params = settled(tmp_path, sample_weight="weight", task_labels=None)
    assert params["task_labels"] == ["click", "buy"]
    assert settled(tmp_path, task_labels=None)["task_labels"] == ["click", "buy", "weight"]


@pytest.mark.parametrize("missing", [-1, -1.0, 0.5])
def test_missing_is_a_number(tmp_path, missing):
    labels = [LABELS[0], {"name": "buy", "dtype": "int", "missing": missing}]
    assert load(tmp_path, EXPERIMENT, {"label_col": labels})["label_col"][1]["missing"] == missing


@pytest.mark.parametrize("missing", ["nan", "NaN", ".nan", math.nan])
def test_missing_is_nan(tmp_path, missing):
    labels = [LABELS[0], {"name": "buy", "dtype": "float", "missing": missing}]
    found = load(tmp_path, EXPERIMENT, {"label_col": labels})["label_col"][1]["missing"]
    assert math.isnan(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_weight": "uw"}, "must be one of EQ, UW, DWA.*numbers >= 0.*Did you mean 'UW'"),
        ({"loss_weight": [1, -1]}, r"found \[1, -1\]"),
        ({"loss_weight": [1]}, r"has 1 entries, but 2 labels are trained \(buy, click\)"),
        ({"loss_weight": {"click": 1}}, "one number for each .* differs in buy"),
        ({"loss_weight": {"click": 1, "buy": 1, "weight": 1}}, "differs in weight"),
        ({"loss_weight": [0, 0]}, "is 0 for every task"),
        ({"gradient_balancing": "PCgrad"}, "one of AlignedMTL, .*Did you mean 'PCGrad'"),
        ({"sample_spaces": {"bye": "click"}}, "'bye' is not trained.*Did you mean 'buy'"),
        ({"sample_spaces": {"buy": "clik"}}, "'clik' is not a label .*Did you mean 'click'"),
        ({"sample_spaces": {"buy": "buy"}}, "'buy' cannot be its own sample space"),
        ({"sample_spaces": ["buy"]}, "a mapping from labels to labels"),
        ({"sample_spaces": {}}, "a mapping from labels to labels"),
        ({"sample_weight": "wait"}, "'wait' is not in label_col"),
        ({"sample_weight": "click"}, "'click' is trained as a task, too"),
        ({"sample_weight": "buy", "task_labels": ["click"]}, "'buy' may be missing .* fill_na"),
        (
            {"monitor": "calibration", "metrics": ["AUC", "calibration"]},
            "Monitor calibration_error",
        ),
        (
            {"monitor": {"AUC": 1, "buy_calibration": 1}, "metrics": ["AUC", "calibration"]},
            "calibration_error",
        ),
        (
            {"metrics": ["calibration"]},
            "calibration cannot decide early stopping.* Add calibration_error",
        ),
    ],
)
def test_mistakes(tmp_path, changes, message):
    changes = {**EXPERIMENT, **TWO, **changes}
    (found,) = problems(tmp_path, changes, {"label_col": LABELS})
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, changes, {"label_col": LABELS})
    assert found.startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"missing": "none"}, "buy.*missing: must be a finite number, or nan"),
        ({"missing": math.inf}, "must be a finite number, or nan"),
        ({"missing": -1, "fill_na": 0}, "fill_na exclude each other.* Keep one"),
    ],
)
def test_mistakes_of_labels(tmp_path, label, message):
    labels = [LABELS[0], {"name": "buy", "dtype": "float", **label}]
    assert len(problems(tmp_path, EXPERIMENT, {"label_col": labels})) == 1
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, EXPERIMENT, {"label_col": labels})


@pytest.mark.parametrize(
    ("metrics", "task", "settled"),
    [
        (["NE"], "binary_classification", ("NE", "min")),
        (["NE", "prAUC"], "binary_classification", ("prAUC", "max")),
        (["calibration_error"], "binary_classification", ("calibration_error", "min")),
        (["calibration", "NE", "logloss"], "binary_classification", ("logloss", "min")),
        (["R2"], "regression", ("R2", "max")),
        (["MAE", "R2"], "regression", ("MAE", "min")),
    ],
)
def test_monitors(tmp_path, metrics, task, settled):
    params = load(tmp_path, {**EXPERIMENT, "metrics": metrics, "task": task})
    assert (params["monitor"], params["monitor_mode"]) == settled


def test_a_mixed_monitor(tmp_path):
    changes = {"task": ["binary_classification", "regression"], "metrics": ["AUC", "NE", "R2"]}
    monitor = {"click_AUC": 1, "click_NE": -0.1, "buy_R2": 0.5}
    params = load(tmp_path, {**EXPERIMENT, **changes, "monitor": monitor})
    assert (params["monitor"], params["monitor_mode"]) == (monitor, "max")


@pytest.mark.parametrize(
    "changes",
    [
        {"loss_weight": "DWA"},
        {"gradient_balancing": "Sum"},
        {"sample_spaces": {"buy": "click"}},
        {"sample_weight": "weight"},
    ],
)
def test_a_model_that_does_not_take_a_setting_does_not_ignore_it(tmp_path, monkeypatch, changes):
    monkeypatch.setattr(registry, "get_model", lambda name: Net)
    labels = {"label_col": [{"name": n, "dtype": "float"} for n in ("click", "buy", "weight")]}
    (found,) = problems(tmp_path, {**TWO, **changes}, labels)
    assert "is not for the model Net, whose constructor does not take it" in found
    assert load(tmp_path, TWO, labels)["loss_weight"] == "EQ"


def test_a_model_that_knows_no_missing_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "get_model", lambda name: Net)
    (found,) = problems(tmp_path, TWO, {"label_col": LABELS})
    assert "buy may be missing (label_col), but the model Net would train on NaN" in found


def test_torchjd_is_told_to_be_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    changes = {**EXPERIMENT, "gradient_balancing": "PCGrad"}
    (found,) = problems(tmp_path, changes)
    assert 'pip install "torchjd[quadprog-projector,cagrad]"' in found
