"""Configs: merging as FuxiCTR merges, normal forms, and one message with every problem."""

from __future__ import annotations

import pytest
from fuxictr.utils import load_config

from fuxictr_stem import registry
from fuxictr_stem.config.experiment_config import list_experiments, load_experiment
from fuxictr_stem.errors import ConfigError
from tests.support.config_files import (
    REMOVE,
    Child,
    Closed,
    Net,
    check_problem_of_experiment,
    columns,
    load,
    problems,
    write,
)

MODELS = {"Net": Net, "Child": Child, "Closed": Closed}
MIXED = {"task": ["binary_classification", "regression"], "metrics": ["AUC", "gAUC", "MAE"]}


@pytest.fixture(autouse=True)
def _fake_models(monkeypatch):
    def get_model(name):
        if name not in MODELS:
            raise ConfigError(f"model: there is no model {name!r}. The models are: Net, Child.")
        return MODELS[name]

    monkeypatch.setattr(registry, "get_model", get_model)


def test_a_minimal_config_gets_fuxictrs_defaults(tmp_path):
    params = load(tmp_path)
    assert params["model_id"] == "exp"
    assert params["dataset_id"] == "toy"
    assert params["task_labels"] == ["click", "buy"]
    assert params["task"] == ["binary_classification"] * 2
    assert params["loss"] == ["binary_crossentropy"] * 2
    assert params["num_tasks"] == 2
    assert params["metrics"] == ["logloss", "AUC"]
    assert (params["monitor"], params["monitor_mode"]) == ("AUC", "max")
    assert (params["optimizer"], params["learning_rate"]) == ("adam", 1e-3)
    assert params["embedding_regularizer"] is None
    assert params["data_format"] == "csv"
    assert params["group_id"] is None
    assert "tower_hidden_units" not in params  # the constructor's own default holds
    names = [col["name"] for col in params["feature_cols"]]
    assert names == ["user", "item", "price", "history", "city", "session"]
    assert [col["active"] for col in params["feature_cols"]] == [True] * 4 + [False, True]
    assert params["label_col"] == [{"name": n, "dtype": "float"} for n in ("click", "buy")]


def test_what_fuxictr_reads_is_kept(tmp_path):
    changes = {"batch_size": 7, "net_dropout": [0.1, 0.2], "monitor": "buy_AUC", "epochs": 3}
    base = {"model_root": "./checkpoints/", "num_workers": 3, "verbose": 0, "batch_size": 9}
    base |= {"early_stop_patience": 2, "pickle_feature_encoder": True, "save_best_only": True}
    base |= {"eval_steps": None, "debug_mode": False, "group_id": None, "use_features": None}
    base |= {"feature_specs": None, "feature_config": None}
    write(tmp_path, changes, base=base)
    ours, theirs = load_experiment(tmp_path, "exp"), load_config(str(tmp_path), "exp")
    for key, value in theirs.items():
        if key not in ("feature_cols", "label_col"):
            assert ours[key] == value
    assert (ours["batch_size"], ours["verbose"]) == (7, 0)


def test_a_dataset_key_overrides_the_experiments(tmp_path, caplog):
    ours = load(tmp_path, {"group_id": "user"}, {"group_id": "session"})
    assert ours["group_id"] == "session"
    assert "dataset's, 'session', is used" in caplog.text
    assert load(tmp_path, {"group_id": "user"}, {"group_id": None})["group_id"] is None


def test_one_label_one_task(tmp_path):
    params = load(tmp_path, {"num_tasks": 1}, {"label_col": {"name": "click", "dtype": "int"}})
    assert params["label_col"] == [{"name": "click", "dtype": "int"}]
    assert params["task_labels"] == ["click"]


def test_mixed_tasks(tmp_path):
    params = load(tmp_path, {**MIXED, "group_id": "session", "task_labels": ["buy", "click"]})
    assert params["task_labels"] == ["buy", "click"]
    assert params["loss"] == ["binary_crossentropy", "mse_loss"]
    assert load(tmp_path, {"task": "regression"})["monitor"] == "MSE"


@pytest.mark.parametrize(
    ("metrics", "monitor", "mode", "settled", "warned"),
    [
        (["logloss", "AUC"], None, None, ("AUC", "max"), False),
        (["logloss"], None, None, ("logloss", "min"), False),
        ("logloss", "buy_logloss", None, ("buy_logloss", "min"), False),
        (["AUC"], "click_AUC", "max", ("click_AUC", "max"), False),
        (["AUC"], "click_AUC", "min", ("click_AUC", "min"), True),
        (["logloss", "AUC"], "logloss", "max", ("logloss", "max"), True),
        (["logloss", "AUC"], {"AUC": 1, "logloss": -1}, "max", None, False),
        (["logloss", "AUC"], {"AUC": 1, "logloss": -1}, None, None, False),
        (["logloss", "AUC"], {"AUC": 1, "logloss": 1}, "max", None, True),
        (["logloss", "AUC"], {"AUC": 1, "logloss": 1}, None, None, True),
    ],
)
def test_monitor(tmp_path, caplog, metrics, monitor, mode, settled, warned):
    params = load(tmp_path, {"metrics": metrics, "monitor": monitor, "monitor_mode": mode})
    expected = settled or ({"AUC": 1.0, "logloss": monitor["logloss"]}, "max")
    assert (params["monitor"], params["monitor_mode"]) == expected
    assert ("worst" in caplog.text) == warned


def test_all_problems_come_at_once(tmp_path):
    lines = problems(
        tmp_path,
        {"batchsize": 3, "epochs": 0, "task_labels": ["bye"], "model": "Nets"},
        {"sep": ",,", "prepare": {"preparer": 3}, **columns({"name": "x", "typ": "numeric"})},
        base={"seed": True},
    )
    text = "\n".join(lines)
    for part in (
        "exp.epochs: must be a whole number >= 1, found 0.",
        "Base.seed: must be a whole number from 0 to 4294967295, found True.",
        "exp.model: model: there is no model 'Nets'",
        "exp.task_labels: 'bye' is not a label of the dataset, which has click, buy. "
        "Did you mean 'buy'?",
        "toy.sep: must be one ASCII character, found ',,'",
        "toy.prepare.preparer: must be text",
        "toy.prepare.raw_dir: is missing",
        "toy.feature_cols[5] (x).typ: is not a known key. Did you mean 'type' or 'dtype'?",
        "toy.feature_cols[5] (x).type: is missing",
        "toy.feature_cols[5] (x).dtype: is missing",
    ):
        assert part in text
    assert len(lines) == 10  # batchsize: the keys of an unknown model cannot be told
    assert str(tmp_path / "model_config.yaml") in lines[0]
    assert "exp.batchsize: is not a known key. Did you mean 'batch_size'?" in "".join(
        problems(tmp_path, {"batchsize": 3})
    )


BAD_SETTINGS = {
    "needed": [
        ({"model": REMOVE}, "exp.model: is missing"),
        ({"dataset_id": REMOVE}, "exp.dataset_id: is missing"),
        ({"dataset_id": "toi"}, "dataset_id 'toi' is not in .* Did you mean 'toy'"),
        ({"dataset_id": "../toy"}, "dataset_id must be letters"),
        ({"model": 3}, "exp.model: must be text .*, found 3. Write it in quotes"),
    ],
    "keys": [
        ({"gpu": 0}, "command line: --gpu"),
        ({"model_id": "x"}, "Leave it out"),
        ({"train_data": "x.csv"}, "belongs to the dataset"),
        ({7: 1}, "exp.7: is not a known key. Keys are text"),
    ],
    "tasks": [
        (
            {"num_tasks": 3, "task": ["regression"], "loss": ["bce"] * 4},
            "num_tasks is 3, task has 1 entries, loss has 4 entries, but 2 labels are trained",
        ),
        (
            {"num_tasks": 2, "task_labels": ["buy"]},
            r"num_tasks is 2.* 1 labels are trained \(buy\)",
        ),
        ({"task_labels": ["clic"]}, "exp.task_labels: 'clic' .* Did you mean 'click'"),
        ({"task_labels": ["clic"], "monitor": "click_AUC"}, "'clic' is not a label"),
        ({"task_labels": ["buy", "buy"]}, "names a label twice"),
        ({"task": "binary"}, "task: must be one of binary_classification, regression"),
        (
            {"loss": "mse_loss"},
            "mse_loss does not fit .* binary_classification, as which click, buy",
        ),
        (
            {**MIXED, "loss": "bce", "group_id": "session"},
            "bce does not fit .* regression, as which buy is .*huber_loss",
        ),
        ({"loss": "mseloss"}, "Did you mean 'mse_loss'"),
        (
            {"hidden_activations": ["relu"] * 3, "tower_hidden_units": [2] * 3},
            r"has 3 entries, but expert_hidden_units has 2 layers: \[8, 4\]",
        ),
        ({"net_dropout": [0.1], "tower_hidden_units": [1]}, "net_dropout: .*expert_hidden_units"),
    ],
    "monitor": [
        ({"monitor": "like_AUC"}, "'like_AUC' is not produced .* Did you mean 'click_AUC'"),
        ({"monitor": {"AUC": 1, "gAUC": 1}}, "'gAUC' is not produced .* Add gAUC to metrics"),
        ({"monitor": {}}, "a mapping of metrics to weights"),
        ({"monitor": {"AUC": "1"}}, "a mapping of metrics to weights, .* Write 1 without quotes"),
        ({"monitor": {"AUC": 0}}, "weight of 0"),
        ({"metrics": ["gAUC", "AUC"]}, "gAUC need group_id, but it is null"),
        ({"group_id": "usr"}, "found 'usr'. Did you mean 'user'"),
        ({"group_id": "buy"}, "'buy', which is a label"),
        ({"group_id": "history"}, "of type sequence, which cannot be copied"),
    ],
    "features": [
        ({"use_features": ["usr", "item"]}, "'usr' is not an active column. Did you mean 'user'"),
        ({"use_features": ["city"]}, "'city' is not an active column"),
        ({"use_features": ["user", "user"]}, "names twice: user"),
        ({"use_features": ["session"]}, "must name a column that is not meta"),
        ({"use_features": []}, "with at least 1 entry"),
        ({"feature_specs": {"name": "user"}}, "feature_specs: must be a list"),
        ({"feature_specs": [{"name": "usr"}]}, "'usr' is not a column in use. Did you mean"),
        ({"feature_specs": [{"name": "user", "vocab_size": 3}]}, r"specs\[0\] \(user\).vocab_size"),
        ({"feature_specs": [{"name": "user", "freeze_emb": True}]}, "with pretrained_emb"),
        ({"feature_specs": [{"name": "session", "embedding_dim": 3}]}, "columns, not meta"),
        (
            {"feature_specs": [{"name": "user"}], "use_features": ["item"]},
            "'user' is not a column in use",
        ),
        (
            {"feature_specs": [{"name": "user", "feature_encoder": "layers.MaskedSumPooling()"}]},
            "pools a sequence, but the column is categorical",
        ),
    ],
}


@pytest.mark.parametrize(("changes", "message"), [c for cs in BAD_SETTINGS.values() for c in cs])
def test_a_bad_setting_is_one_problem_that_says_what_to_do(tmp_path, changes, message):
    check_problem_of_experiment(tmp_path, changes, message)


def test_feature_specs_are_one_dict_a_column(tmp_path):
    specs = [{"name": ["user", "item"], "embedding_dim": 4, "feature_encoder": "nn.Linear(4, 2)"}]
    settled = load(tmp_path, {"feature_specs": specs, "use_features": ["user", "item"]})
    rest = {"embedding_dim": 4, "feature_encoder": "nn.Linear(4, 2)"}
    assert settled["feature_specs"] == [{"name": n, **rest} for n in ("user", "item")]
    assert load(tmp_path, {"feature_specs": []})["feature_specs"] is None


def test_another_dataset_may_stand_in(tmp_path):
    write(tmp_path)
    text = (tmp_path / "dataset_config.yaml").read_text()
    (tmp_path / "dataset_config.yaml").write_text(text + text.replace("toy:", "other:", 1))
    assert load_experiment(tmp_path, "exp", dataset_id="other")["dataset_id"] == "other"
    assert list_experiments(tmp_path) == ["exp"]
