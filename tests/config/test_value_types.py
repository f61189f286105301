"""The types of config values: bounds, names and small grammars, and what FuxiCTR makes of them."""

from __future__ import annotations

import pytest
import torch
from fuxictr.pytorch.torch_utils import (
    get_activation,
    get_initializer,
    get_loss,
    get_optimizer,
    get_regularizer,
)

from fuxictr_stem import registry
from fuxictr_stem.config.value_types import ACTIVATIONS, OPTIMIZERS
from fuxictr_stem.training.task_loss import LOSSES
from tests.support.config_files import (
    Net,
    both,
    check_problem_of_experiment,
    load,
    more_labels,
    problems,
)


@pytest.fixture(autouse=True)
def _fake_model(monkeypatch):
    monkeypatch.setattr(registry, "get_model", lambda name: Net)


NUMBERS = [
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
]

NAMES = [
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
]


@pytest.mark.parametrize(("changes", "message"), [*NUMBERS, *NAMES])
def test_a_bad_setting_is_one_problem_that_says_what_to_do(tmp_path, changes, message):
    check_problem_of_experiment(tmp_path, changes, message)


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


def test_the_grammar_is_read_and_normalised(tmp_path):
    params = load(tmp_path, dataset=more_labels(both(pair=" click ,buy ", parent="click")))
    assert params["label_col"][-1] == both(parent="click")
    assert params["task_labels"] == ["click", "buy"], (
        "a combined label is trained where it is named"
    )
    params = load(tmp_path, {"task_labels": ["click_buy"]}, more_labels(both()))
    assert params["task_labels"] == ["click_buy"]


def test_a_feature_has_no_such_thing(tmp_path):
    features = [{"name": "x", "dtype": "str", "type": "categorical", "preprocess": "both(a, b)"}]
    (line,) = problems(tmp_path, dataset={"feature_cols": features})
    assert "must be copy_from(<column>), or a function of an installed package" in line
    assert "found 'both(a, b)'" in line
