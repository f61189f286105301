"""Configs: merging as FuxiCTR merges, normal forms, and one message with every problem."""

from __future__ import annotations

import logging

import pytest
import torch
import yaml
from fuxictr.pytorch.torch_utils import (
    get_activation,
    get_initializer,
    get_loss,
    get_optimizer,
    get_regularizer,
)
from fuxictr.utils import load_config

from fuxictr_stem import registry
from fuxictr_stem.config.dataset_config import load_dataset
from fuxictr_stem.config.experiment_config import list_experiments, load_experiment
from fuxictr_stem.config.value_types import ACTIVATIONS, OPTIMIZERS
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.training.task_loss import LOSSES
from tests.support.config_files import REMOVE, Child, Closed, Net, columns, load, problems, write

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


def test_a_feature_that_groups_gets_a_meta_column(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    fill = columns({"name": "u", "dtype": "int", "type": "categorical", "fill_na": -1})
    params = load(tmp_path, {"group_id": "u", "metrics": ["gAUC"]}, fill)
    assert params["group_id"] == "u_group"
    added = {"name": "u_group", "active": True, "type": "meta", "dtype": "int", "fill_na": -1}
    assert {**added, "preprocess": "copy_from(u)"} in params["feature_cols"]
    assert "u_group" in caplog.text
    assert load_dataset(write(tmp_path, dataset={"group_id": "city"}), "toy")["group_id"] == (
        "city_group"
    )
    assert load(tmp_path, {"group_id": "session"})["group_id"] == "session"
    copy = {"name": "raw", "dtype": "str", "type": "meta", "preprocess": "copy_from( user )"}
    params = load(tmp_path, {"group_id": "user"}, columns(copy))
    assert (params["group_id"], len(params["feature_cols"])) == ("raw", 7)
    params = load(tmp_path, {"group_id": "user"}, columns({**copy, "active": False}))
    assert params["group_id"] == "user_group"


@pytest.mark.parametrize(
    ("written", "settled"),
    [
        (0, None),
        (0.0, None),
        (1, 1.0),
        (1e-6, 1e-6),
        ("l2(1e-6)", 1e-6),
        ("l1(0.5)", "l1(0.5)"),
        ("l1_l2(0.5, 1e-3)", "l1_l2(0.5,0.001)"),
        ("l1_l2(0, 3)", 3.0),
        ("l1_l2(3, 0)", "l1(3.0)"),
        ("l2(0)", None),
        (None, None),
    ],
)
def test_penalties_mean_what_fuxictr_means(tmp_path, written, settled):
    params = load(tmp_path, {"embedding_regularizer": written, "net_regularizer": written})
    assert params["embedding_regularizer"] == params["net_regularizer"] == settled
    assert type(params["net_regularizer"]) is type(settled)
    meant = written if isinstance(written, str) else float(written or 0)
    assert get_regularizer(settled) == [pair for pair in get_regularizer(meant) if pair[1]]


def test_the_names_that_are_allowed_work_in_fuxictr():
    weight = torch.nn.Parameter(torch.ones(3, 2))
    for name in OPTIMIZERS:
        optimizer = get_optimizer(name, [weight], 1e-3)
        before = weight.detach().clone()
        (weight**2).sum().backward()
        optimizer.step()
        assert not torch.equal(before, weight)
    x, y = torch.rand(8, 4), torch.rand(8, 4)
    for name in LOSSES:
        assert get_loss(name)(x, y, reduction="mean").ndim == 0
    assert {"relu", "prelu", "dice", "ReLU", "GELU", "SiLU", "SELU", "Softplus"} < {*ACTIVATIONS}
    for name in ACTIVATIONS:
        assert get_activation(name, 4)(x).shape == x.shape
    for text in ("nn.init.xavier_normal_", "partial(nn.init.normal_, mean=1, std=1e-4)"):
        get_initializer(text)(weight)


def test_a_model_takes_its_constructors_keys(tmp_path):
    child = {"model": "Child", "flavour": ["a", 1, None], "num_experts": 3}
    assert load(tmp_path, child)["flavour"] == ["a", 1, None]
    assert "Child" not in str(load(tmp_path, {**child, "depth": "deep"})["depth"])
    (line,) = problems(tmp_path, {"model": "Child"})
    assert "exp.flavour: is missing" in line
    (line,) = problems(tmp_path, {**child, "flavour": {"a": 1}})
    assert "a list of these, found {'a': 1}" in line
    (line,) = problems(tmp_path, {"model": "Closed", "depth": 2})
    assert "exp.num_experts: is not a known key" in line
    (line,) = problems(tmp_path, {"bottom_hidden_units": [3]})
    assert "Did you mean 'tower_hidden_units'" in line


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
    "types": [
        ({"learning_rate": "1e-3"}, "YAML reads 1e-3 as text: write 1.e-3"),
        ({"embedding_regularizer": "1e-6"}, "YAML reads 1e-6 as text: write 1.e-6"),
        ({"learning_rate": "0.5"}, "Write 0.5 without quotes"),
        ({"learning_rate": 0}, "a finite number > 0, found 0"),
        ({"learning_rate": float("inf")}, "a finite number > 0, found inf"),
        ({"learning_rate": True}, "a finite number > 0, found True"),
        ({"batch_size": 4096.0}, "a whole number >= 1, found 4096.0. Write 4096"),
        ({"batch_size": "4096"}, "Write 4096 without quotes"),
        ({"batch_size": True}, "found True"),
        ({"epochs": None}, "found None"),
        ({"shuffle": 1}, "exp.shuffle: must be True or False, found 1"),
        ({"seed": -1}, "from 0 to 4294967295, found -1"),
        ({"eval_steps": 0}, ">= 1, or null, found 0"),
        ({"num_experts": 0}, "exp.num_experts: must be a whole number from 1 to 1000"),
        ({"num_experts": 1.5}, "found 1.5"),
        ({"batch_norm": "yes"}, "True or False"),
        ({"net_dropout": 1}, ">= 0 and < 1, or a list of these, found 1"),
        ({"net_dropout": [0.1, -0.1]}, "net_dropout: must be"),
        ({"tower_hidden_units": 64}, r"a list, .*, found 64. Write a list"),
        ({"tower_hidden_units": [64, 0]}, r"found \[64, 0\]"),
        ({"expert_hidden_units": []}, "a list with at least 1 entry"),
        ({"gate_input": "tasks"}, "task_plus_shared, task, found 'tasks'. Did you mean 'task'"),
        ({"isolate_shared_gate": "no"}, "True or False"),
        ({"memory_budget": "4GB"}, "memory_budget: must be a whole number"),
        ({"model_root": " "}, "model_root: must be text"),
        ({"feature_config": "x.yaml"}, "feature_config: must be null"),
    ],
    "names": [
        ({"optimizer": "sgd"}, "Did you mean 'SGD'"),
        ({"optimizer": "LBFGS"}, "optimizer: must be one of adam, Adam, AdamW"),
        ({"hidden_activations": "Softmax"}, "hidden_activations: must be one of relu"),
        ({"hidden_activations": ["relu", "rely"]}, "hidden_activations: must be"),
        ({"metrics": ["auc"]}, "metrics: must be one of logloss, .*gAUC_positives"),
        ({"metrics": ["NDCG(k=5)"]}, r"found \['NDCG\(k=5\)'\]"),
        ({"metrics": []}, "metrics: must be"),
        ({"loss_weight": "WU"}, "loss_weight: must be one of EQ, UW, DWA, .*, found 'WU'"),
        ({"monitor_mode": "maximum"}, "max, min, or null, found 'maximum'. Did you mean 'max'"),
        ({"embedding_initializer": "nn.init.normal"}, "Did you mean 'nn.init.normal_'"),
        (
            {"embedding_initializer": "partial(nn.init.trunc_normal_, std=0)"},
            "says: float division",
        ),
        ({"embedding_regularizer": 1e300}, "no number beyond 1e38"),
        ({"model_root": "~/checkpoints"}, "neither '~' nor variables"),
        ({"net_regularizer": "l1(1e39)"}, "must be a number >= 0"),
        ({"embedding_initializer": "__import__('os').system('x')"}, "embedding_initializer"),
        ({"net_regularizer": "l3(1)"}, r"l1_l2\(x,y\) or null, found 'l3\(1\)'"),
        ({"net_regularizer": "l2(x)"}, "net_regularizer"),
        ({"net_regularizer": "l1_l2(1)"}, "net_regularizer"),
        ({"net_regularizer": -1}, "found -1"),
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
    assert [len(problems(tmp_path, changes))] == [1]
    with pytest.raises(ConfigError, match=message):
        load_experiment(tmp_path, "exp")


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


def test_numbers_that_yaml_takes_for_text(tmp_path):
    write(tmp_path)
    for text in ("1e-6", "2.5e3", "1e5", ".5e3", "1E-4", "+1e2", "-3e-2"):
        (tmp_path / "model_config.yaml").write_text(
            f"exp: {{model: Net, dataset_id: toy, learning_rate: {text}}}"
        )
        with pytest.raises(ConfigError, match="YAML reads") as caught:
            load_experiment(tmp_path, "exp")
        written = str(caught.value).split(": write ")[1].rstrip(".")
        assert yaml.safe_load(written) == float(text)


def test_special_characters_of_csv_files(tmp_path):
    text = "\n".join(
        problems(
            tmp_path, {}, {"sep": r"\t", "csv_escape": "ab", "null_values": [-1], "csv_quote": "é"}
        )
    )
    assert (
        r"""toy.sep: must be one ASCII character, found '\\t'. Write it in double quotes: "\t"."""
        in text
    )
    assert "toy.csv_escape: must be one ASCII character, or null, found 'ab'." in text
    assert "toy.csv_quote: must be one ASCII character, or null, found 'é'." in text
    assert (
        "toy.null_values: must be a list, each entry text, found [-1]. Write it in quotes." in text
    )
    same = {"sep": '"', "csv_escape": '"'}
    text = "\n".join(problems(tmp_path, {}, same))
    assert "toy.csv_escape: must differ from csv_quote, found '\"' for both." in text
    assert "toy.csv_quote: must differ from sep, found '\"' for both." in text
    text = "\n".join(problems(tmp_path, {}, {"sep": "\n"}))
    assert "toy.sep: must be one ASCII character, found '\\n'. It cannot end lines." in text
    for key, value in (("csv_quote", None), ("csv_escape", "\\"), ("null_values", ["NA"])):
        settings = {"data_format": "parquet", key: value}
        text = "\n".join(problems(tmp_path, {}, settings))
        assert f"toy.{key}: is for CSV files, not for parquet. Leave it out." in text
    write(tmp_path, {}, {"csv_quote": None, "csv_escape": "\\", "null_values": [""]})
    dataset = load_dataset(tmp_path, "toy")
    assert (dataset["csv_quote"], dataset["csv_escape"], dataset["null_values"]) == (
        None,
        "\\",
        [""],
    )
