"""ESMM: its equations, what its two towers are, which gradients reach them, and labels that it rejects."""

import numpy as np
import pytest
import torch

from fuxictr_stem import get_model
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.errors import ConfigError
from tests.support.oracle_models import assert_same, lookup, mlp
from tests.support.small_models import Batches, batch, categorical, feature_map, small_model

ROLES = {"click_label": "click", "conversion_label": "buy"}
CLICK = {"name": "click", "dtype": "float"}
BUY = {"name": "buy", "dtype": "float", "parent": "click"}
CART = {"name": "cart", "dtype": "float", "parent": "click"}


def shop(*more):
    """A feature map with the labels click and buy, in this order."""
    fmap = feature_map()
    fmap.labels = ["click", "buy", *more]
    return fmap


def test_the_conversion_is_the_product():
    fmap = shop()
    model, columns = small_model("ESMM", fmap, **ROLES), batch(fmap)
    outputs = model(columns)
    assert list(outputs) == ["click_pred", "buy_pred"]
    torch.testing.assert_close(outputs["buy_pred"], outputs["click_pred"] * model.cvr(columns))
    assert (outputs["buy_pred"] < outputs["click_pred"]).all()
    assert model.cvr(columns).shape == (16, 1)


def test_roles_go_by_name_and_not_by_position():
    fmap = shop()
    model = small_model("ESMM", fmap, **ROLES)
    twin = small_model("ESMM", fmap, task_labels=["buy", "click"], **ROLES)
    for seed in range(3):
        columns = batch(fmap, seed=seed)
        ours, theirs = model(columns), twin(columns)
        assert list(theirs) == ["buy_pred", "click_pred"]
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        torch.testing.assert_close(model.train_step(columns), twin.train_step(columns))


def test_only_the_conversions_loss_trains_the_cvr_tower():
    fmap = shop()
    model, columns = small_model("ESMM", fmap, **ROLES), batch(fmap)
    click, buy = model.task_losses(model(columns), model.get_labels(columns))
    towers = list(model.towers.parameters())
    for cvr, ctr in torch.autograd.grad(click, towers, retain_graph=True):
        assert not cvr.any()
        assert ctr.any()
    for cvr, ctr in torch.autograd.grad(buy, towers):
        assert cvr.any()
        assert ctr.any()


def test_rows_without_a_click_train_the_cvr_tower_too():
    """The entire space: a tower on clicked rows alone would get nothing from these."""
    fmap = shop()
    model, columns = small_model("ESMM", fmap, **ROLES), batch(fmap)
    columns |= {label: torch.zeros(16) for label in fmap.labels}
    loss = model.add_loss(model(columns), model.get_labels(columns))
    for cvr, _ in torch.autograd.grad(loss, list(model.towers.parameters())):
        assert cvr.any()


def test_the_rates_are_found():
    """With one id a rate, the likelihood's maximum is known: clicks / rows, and buys / clicks."""
    counts = {1: (200, 100, 20), 2: (300, 30, 24), 3: (250, 200, 10)}  # rows, clicks, buys of an id
    columns = {
        "item": torch.cat([torch.full((rows,), i) for i, (rows, _, _) in counts.items()]),
        "click": torch.cat([(torch.arange(n) < c).float() for n, c, _ in counts.values()]),
        "buy": torch.cat([(torch.arange(n) < b).float() for n, _, b in counts.values()]),
    }
    fmap = feature_map({"item": categorical(4)})
    fmap.labels = ["click", "buy"]
    model = small_model("ESMM", fmap, tower_hidden_units=[], learning_rate=0.05, **ROLES)
    for _ in range(400):
        model.train_step(columns)
    ids = {"item": torch.tensor(list(counts))}
    clicks = np.array([c / n for n, c, _ in counts.values()])
    buys = np.array([b / c for _, c, b in counts.values()])
    with torch.no_grad():
        found_clicks, found_buys = model(ids)["click_pred"], model.cvr(ids)
    np.testing.assert_allclose(found_clicks.flatten(), clicks, atol=2e-3)
    np.testing.assert_allclose(found_buys.flatten(), buys, atol=2e-3)


def test_extreme_rates_leave_finite_gradients():
    fmap = shop()
    model, columns = small_model("ESMM", fmap, **ROLES), batch(fmap)
    with torch.no_grad():
        model.towers.layers[-1].bias.copy_(torch.tensor([[-200.0], [-200.0]]))
    columns |= {label: torch.ones(16) for label in fmap.labels}
    loss = model.add_loss(model(columns), model.get_labels(columns))
    assert torch.isfinite(loss)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(
    "declared",
    [
        [CLICK, BUY],
        # Through another label.
        [CLICK, {"name": "cart", "parent": "click"}, {**BUY, "parent": "cart"}],
    ],
)
def test_nested_labels_are_taken(declared):
    model = small_model("ESMM", shop(), label_col=declared, **ROLES)
    assert (model.click_label, model.conversion_label) == ("click", "buy")


def test_without_a_config_the_labels_stand_in_the_published_order():
    fmap = shop()
    columns = batch(fmap)
    named = get_model("ESMM")(fmap, **ROLES)
    unnamed = get_model("ESMM")(fmap)
    unnamed.load_state_dict(named.state_dict())
    assert torch.equal(named(columns)["buy_pred"], unnamed(columns)["buy_pred"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"label_col": [CLICK, {**BUY, "parent": None}]},
            "'buy' is not declared nested in 'click'",
        ),
        (
            {"label_col": [CLICK, {**BUY, "parent": None}]},
            r'preprocess: "both\(click, buy\)", parent',
        ),
        ({"label_col": {"name": "click"}}, "'buy' is not declared nested in 'click'"),
        (
            {"label_col": [CLICK, BUY], "click_label": "buy", "conversion_label": "click"},
            "the roles are swapped. Set click_label: click and conversion_label: buy",
        ),
        ({"conversion_label": None}, "conversion_label: .* found 'click' and None"),
        ({"click_label": "clik"}, "click_label: .* must name the two labels .* found 'clik'"),
        ({"click_label": "buy"}, "one each; found 'buy' and 'buy'"),
        (
            {"label_col": [CLICK, BUY], "click_label": None, "conversion_label": None},
            "found None and None. Name them so",
        ),
        ({"sample_spaces": {"buy": "click"}}, "sample_spaces: .* ESMM learns .* on all rows"),
        (
            {"label_col": [CLICK, CART, BUY], "sample_spaces": {"buy": "cart"}},
            "sample_spaces: leaves the rows without 'click' out for 'buy'",
        ),
        (
            {"label_col": [{**CLICK, "parent": "seen"}, BUY], "sample_spaces": {"click": "seen"}},
            "sample_spaces: makes pCTR the rate of 'click' where 'seen' is 1, but 'buy' is learnt",
        ),
        ({"task_labels": ["click"]}, "task_labels: ESMM trains two labels, .* found 1: "),
        (
            {"task": ["binary_classification", "regression"]},
            "task: ESMM multiplies probabilities, found .*'buy': 'regression'",
        ),
    ],
)
def test_other_labels_are_refused_with_the_reason(params, message):
    with pytest.raises(ConfigError, match=message):
        small_model("ESMM", shop(), **{**ROLES, **params})


def test_three_labels_are_refused():
    with pytest.raises(ConfigError, match="found 3: .*'click', 'buy', 'cart'.* Name those two"):
        small_model("ESMM", shop("cart"), **ROLES)


@pytest.fixture
def project(project):
    """Labels like and view, of which neither is nested in the other, and both."""
    both = {"name": "both", "dtype": "float", "preprocess": "both(view, like)", "parent": "view"}
    project.dataset["label_col"].append(both)
    project.model = {
        "model": "ESMM",
        "dataset_id": "toy",
        "task_labels": ["view", "both"],
        "click_label": "view",
        "conversion_label": "both",
        "metrics": ["AUC"],
        "batch_size": 64,
        "tower_hidden_units": [4],
    }
    return project


def test_a_run_on_combined_labels(project):
    assert project.run() == 0
    assert list(project.folder.rglob("result.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task_labels": ["view", "like"], "conversion_label": "like"},
            "toy_test.conversion_label: 'like' is not declared nested in 'view', and .* dtype: float",
        ),
        (
            {"click_label": None},
            r"toy_test.click_label: must be text that is not blank, found None",
        ),
        ({"conversion_label": ...}, "toy_test.conversion_label: .* found 'view' and None"),
        ({"task_labels": None}, r"toy_test.conversion_label: .*\['like', 'view'\], .* and 'both'"),
        (
            {"task": "regression", "metrics": ["MSE"]},
            "toy_test.task: ESMM multiplies probabilities",
        ),
        (
            {"click_label": "both", "conversion_label": "view"},
            "toy_test.conversion_label: 'view' is declared the parent of 'both': the roles are sw",
        ),
    ],
)
def test_a_config_says_so_before_any_data_is_read(project, changes, message):
    project.model |= changes
    project.model = {key: value for key, value in project.model.items() if value is not ...}
    project.write()
    for split in ("train", "valid", "test"):
        (project.folder / f"{split}.csv").unlink()
    with pytest.raises(ConfigError, match=message):
        load_experiment("config", "toy_test")


def test_the_loop_of_fuxictr_trains_it(tmp_path):
    fmap = shop()
    model = small_model("ESMM", fmap, model_root=str(tmp_path), **ROLES)
    one = batch(fmap, size=64)
    before = model.evaluate(Batches(one), ["logloss"])["logloss"]
    model.fit(Batches(one), epochs=5, validation_data=Batches(one))
    assert model.evaluate(Batches(one), ["logloss"])["logloss"] < before


def esmm_oracle(model, columns, row):
    """In the order of the labels; the published code's first tower gives the CVR."""
    x = lookup(model, columns, row, 0)
    cvr, ctr = (1 / (1 + torch.exp(-mlp(model.towers, i, x, True)[0])) for i in range(2))
    by_role = {model.click_label: ctr, model.conversion_label: ctr * cvr}
    return [by_role[label] for label in model.labels]


@pytest.mark.parametrize("click", ["y0", "y1"])
def test_esmm(click):
    fmap = feature_map()
    conversion = "y1" if click == "y0" else "y0"
    model = small_model("ESMM", fmap, click_label=click, conversion_label=conversion).double()
    columns = batch(fmap, size=5)
    columns["a"][0] = 0  # padding
    assert_same(model, columns, lambda row: esmm_oracle(model, columns, row))
