"""AITM: its equations, and its calibrator: only where a later label cannot be the likelier one."""

import numpy as np
import pytest
import torch

from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.errors import ConfigError
from tests.support.oracle_models import assert_same, lookup, mlp
from tests.support.small_models import batch, feature_map, small_model

IMPRESSION, CLICK, BUY = (
    {"name": "impression"},
    {"name": "click", "parent": "impression"},
    {"name": "buy", "parent": "click"},
)
CHAIN = [IMPRESSION, CLICK, BUY]


def shop(*labels):
    fmap = feature_map(labels=len(labels))
    fmap.labels = list(labels)
    return fmap


def aitm(labels=("click", "buy"), **params):
    return small_model("AITM", shop(*labels), **{"calibrator_weight": 0.6, **params})


def test_the_rate_within_a_click_may_be_above_the_rate_of_clicks():
    """What the calibrator would penalise: 20 clicks in 100 rows, 15 of them buy."""
    click = np.array([1] * 20 + [0] * 80)
    buy = np.array([1] * 15 + [0] * 85)
    assert buy[click == 1].mean() > click.mean()
    assert buy.mean() <= click.mean()
    with pytest.raises(
        ConfigError, match=r"calibrator_weight: is 0.6, .*sample_spaces 'click' is .*"
    ):
        aitm(sample_spaces={"buy": "click"})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"sample_spaces": {"buy": "click"}, "label_col": CHAIN},
            r"'click' is learnt everywhere and 'buy' where 'click' is 1, so that may be right\. "
            "Give both the same sample space, or set calibrator_weight: 0",
        ),
        (
            {"sample_spaces": {"click": "impression"}},
            "'click' is learnt where 'impression' is 1 and 'buy' everywhere",
        ),
        (
            {"sample_spaces": {"click": "impression", "buy": "click"}, "label_col": CHAIN},
            "'click' is learnt where 'impression' is 1 and 'buy' where 'click' is 1",
        ),
        (
            {"label_col": [{"name": "click"}, {"name": "buy"}]},
            "'buy' is not declared nested in 'click', .*give it `parent: click` in label_col",
        ),
        (
            {"label_col": CHAIN, "labels": ("buy", "click")},
            "'click' is not declared nested in 'buy'",
        ),
        (
            {"label_col": CHAIN, "labels": ("click", "buy", "impression")},
            "'impression' is not declared nested in 'buy'",
        ),
        ({"task": ["binary_classification", "regression"]}, "there is a regression task"),
    ],
)
def test_a_calibrator_that_punishes_what_may_be_right_is_rejected(params, message):
    with pytest.raises(ConfigError, match=message):
        aitm(**params)
    aitm(**params, calibrator_weight=0)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"label_col": CHAIN},
        {"label_col": CHAIN, "labels": ("impression", "buy")},
        {"label_col": CHAIN, "sample_spaces": {"click": "impression", "buy": "impression"}},
        {"label_col": CHAIN, "labels": ("buy",), "sample_spaces": {"buy": "click"}},
    ],
)
def test_a_calibrator_that_is_right_is_accepted(params):
    assert aitm(**params).calibrator_weight == 0.6


def test_a_row_of_weight_zero_is_not_calibrated_either():
    fmap = shop("click", "buy")
    plain = small_model("AITM", fmap, sample_weight="w")
    calibrated = small_model("AITM", fmap, sample_weight="w", calibrator_weight=0.6)
    weight = torch.arange(16) % 4
    y = plain.get_labels({**batch(fmap), "w": weight})
    outputs = {f"{label}_pred": torch.rand(16, 1) for label in fmap.labels}
    found = calibrated.add_loss(outputs, y) - plain.add_loss(outputs, y)
    click, buy = (outputs[f"{label}_pred"].numpy().ravel() for label in fmap.labels)
    above = np.maximum(buy - click, 0)
    expected = np.average(above, weights=weight)
    assert expected != pytest.approx(above.mean(), rel=1e-2)
    assert found.item() == pytest.approx(0.6 * expected, rel=1e-4)


def test_a_config_says_so_before_any_data_is_read(project):
    project.dataset["label_col"] = [
        {"name": "view", "dtype": "float"},
        {"name": "like", "dtype": "float", "parent": "view"},
    ]
    project.model = {
        "model": "AITM",
        "dataset_id": "toy",
        "sample_spaces": {"like": "view"},
        "calibrator_weight": 0.6,
    }
    project.write_configs()
    with pytest.raises(
        ConfigError, match=r"toy_test.calibrator_weight: is 0.6, and would penalise"
    ):
        load_experiment("config", "toy_test")
    del project.model["sample_spaces"]
    project.write_configs()
    assert load_experiment("config", "toy_test")["calibrator_weight"] == 0.6


def aitm_oracle(model, columns, row):
    x = lookup(model, columns, row, 0)
    outputs, z = [], None
    for i in range(model.num_tasks):
        q = mlp(model.bottoms, i, x, False)
        if z is None:
            z = q
        else:
            linear = model.transfers[i - 1]
            p = linear.weight @ z + linear.bias
            part = {n: (m.weight, m.bias) for n, m in model.attention.items()}
            value, key, query = (
                [part[n][0] @ u + part[n][1] for u in (p, q)] for n in ("value", "key", "query")
            )
            scores = [(key[n] * query[n]).sum() / len(q) ** 0.5 for n in range(2)]
            total = torch.exp(scores[0]) + torch.exp(scores[1])
            z = sum(torch.exp(scores[n]) / total * value[n] for n in range(2))
        outputs.append(torch.sigmoid(mlp(model.towers, i, z, True)[0]))
    return outputs


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_aitm(tasks):
    fmap = feature_map(labels=tasks)
    model = small_model("AITM", fmap).double()
    columns = batch(fmap, size=5)
    assert_same(model, columns, lambda row: aitm_oracle(model, columns, row))


def test_aitm_calibrator():
    """The paper's term: what a later task is expected to exceed the one before it, on average."""
    fmap = feature_map(labels=3)
    plain = small_model("AITM", fmap)
    calibrated = small_model("AITM", fmap, calibrator_weight=0.6)
    columns = batch(fmap)
    with torch.no_grad():
        outputs, y = plain(columns), plain.get_labels(columns)
    expected = 0.0
    for before, after in (("y0", "y1"), ("y1", "y2")):
        pairs = zip(outputs[f"{before}_pred"], outputs[f"{after}_pred"], strict=True)
        expected += sum(max(float(b - a), 0.0) for a, b in pairs) / 16
    found = calibrated.add_loss(outputs, y) - plain.add_loss(outputs, y)
    assert found.item() == pytest.approx(0.6 * expected, rel=1e-4)
    assert expected > 0
    with pytest.raises(ConfigError, match="calibrator_weight: is 0.6"):
        small_model("AITM", fmap, calibrator_weight=0.6, task="regression")
