"""The training step for Adam: FuxiCTR's to rounding, and the row-sparse one."""

import copy
import itertools

import numpy as np
import pytest
import torch

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.training.adam_step import l2_penalty
from tests.support.project import Project
from tests.support.small_models import (
    MIXED,
    SMALL,
    batch,
    categorical,
    feature_map,
    losses_of_steps,
    numeric,
    small_model,
)

ALL = sorted(SMALL)


def as_fuxictr(model, lr):
    """A copy that takes FuxiCTR's own step: the penalty in the loss, torch's plain Adam."""
    twin = copy.deepcopy(model)
    twin.optimizer = torch.optim.Adam(twin.parameters(), lr=lr)
    return twin


MODES = list(itertools.product([0.0, 1e-2], [1e9, 0.05]))  # penalties, and clipping never or always


@pytest.mark.parametrize(
    ("name", "penalty", "max_norm"),
    [
        pytest.param(name, *mode, marks=[] if number == row % len(MODES) else pytest.mark.slow)
        for row, name in enumerate(ALL)
        for number, mode in enumerate(MODES)
    ],
)
def test_many_steps_are_fuxictrs(name, penalty, max_norm):
    fmap = feature_map(MIXED)
    model = small_model(name, fmap, embedding_regularizer=penalty, learning_rate=1e-2)
    model._max_gradient_norm = max_norm
    twin = as_fuxictr(model, 1e-2)
    ours, theirs = losses_of_steps(model, fmap, 200), losses_of_steps(twin, fmap, 200)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert abs(theirs[-1] - theirs[0]) > 1e-3
    for (name, weight), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-2, atol=2e-3, msg=name)


@pytest.mark.parametrize("row_sparse", [False, True])
def test_net_penalties_and_tables_of_all_kinds(row_sparse):
    """What is no table keeps its penalty in the loss; the first loss is FuxiCTR's."""
    fmap = feature_map(MIXED)
    penalties = {"embedding_regularizer": 1e-2, "net_regularizer": 1e-2}
    model = small_model("STEMNet", fmap, row_sparse=row_sparse, **penalties)
    twin = as_fuxictr(model, 1e-3)
    first, theirs = losses_of_steps(model, fmap, 3), losses_of_steps(twin, fmap, 3)
    if row_sparse:
        assert first[0] < theirs[0]
    else:
        np.testing.assert_allclose(first, theirs, rtol=1e-6)


def test_every_row_decays_and_row_sparse_only_those_of_the_batch():
    fmap = feature_map({"a": categorical(50)})
    columns = {**batch(fmap, size=4), "a": torch.tensor([3, 7, 7, 9])}
    moved = {}
    for row_sparse in (False, True):
        model = small_model("STEMNet", fmap, embedding_regularizer=1e-3, row_sparse=row_sparse)
        table = model.embedding_layer.tables[0].table.weight
        before = table.detach().clone()
        model.train_step(columns)
        moved[row_sparse] = (table != before).any(dim=1).nonzero().flatten().tolist()
    assert moved[True] == [3, 7, 9]
    assert moved[False] == list(range(1, 50))


def test_row_sparse_adam_by_hand():
    """Against Adam written out in float64, row by row, over steps that touch rows unequally."""
    fmap = feature_map({"a": categorical(8)}, labels=1)
    lr, penalty, max_norm = 0.05, 0.1, 0.3
    model = small_model(
        "SharedBottom", fmap, embedding_regularizer=penalty, row_sparse=True, learning_rate=lr
    )
    model._max_gradient_norm = max_norm
    reference = copy.deepcopy(model)
    table = model.embedding_layer.tables[0].table.weight
    m, v = np.zeros(table.shape), np.zeros(table.shape)
    for t, ids in enumerate([[1, 2, 2, 3], [3, 3, 0, 5], [1, 1, 1, 1], [5, 2, 7, 7]], start=1):
        columns = {**batch(fmap, size=4, seed=t), "a": torch.tensor(ids)}
        old = table.detach().double().numpy().copy()
        reference.load_state_dict(model.state_dict())
        reference.zero_grad()
        reference.add_loss(reference(columns), reference.get_labels(columns)).backward()
        gradient = reference.embedding_layer.tables[0].table.weight.grad.double().numpy()
        rows = sorted(set(ids) - {0})
        gradient[rows] += penalty * old[rows]
        dense = sum(
            float(p.grad.double().square().sum())
            for name, p in reference.named_parameters()
            if ".table." not in name
        )
        norm = np.sqrt(dense + np.square(gradient[rows]).sum())
        gradient *= min(1.0, max_norm / (norm + 1e-6))
        m[rows] = 0.9 * m[rows] + 0.1 * gradient[rows]
        v[rows] = 0.999 * v[rows] + 0.001 * np.square(gradient[rows])
        expected = old.copy()
        expected[rows] -= lr * (m[rows] / (1 - 0.9**t)) / (np.sqrt(v[rows] / (1 - 0.999**t)) + 1e-8)
        model.train_step(columns)
        np.testing.assert_allclose(table.detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("row_sparse", [False, True])
def test_the_same_steps_twice_are_bitwise_the_same(row_sparse):
    fmap = feature_map(MIXED)
    traces = []
    for _ in range(2):
        model = small_model("STEMNet", fmap, embedding_regularizer=1e-3, row_sparse=row_sparse)
        trace = losses_of_steps(model, fmap, 20)
        traces.append((trace, [p.detach().clone() for p in model.parameters()]))
    assert traces[0][0] == traces[1][0]
    for one, other in zip(traces[0][1], traces[1][1], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("row_sparse", [False, True])
def test_weights_and_the_optimizers_state_are_all_that_a_step_depends_on(row_sparse):
    fmap = feature_map(MIXED)
    settings = {"embedding_regularizer": 1e-3, "row_sparse": row_sparse}
    model = small_model("PLE", fmap, **settings)
    losses_of_steps(model, fmap, 5)
    resumed = small_model("PLE", fmap, **settings)
    resumed.load_state_dict(copy.deepcopy(model.state_dict()))
    resumed.optimizer.load_state_dict(copy.deepcopy(model.optimizer.state_dict()))
    assert losses_of_steps(resumed, fmap, 5) == losses_of_steps(model, fmap, 5)


def test_the_learning_rate_decays_for_tables_and_all_else():
    fmap = feature_map()
    model = small_model("STEMNet", fmap, learning_rate=1e-2)
    assert model.lr_decay() == pytest.approx(1e-3)
    assert [group["lr"] for group in model.optimizer.param_groups] == [pytest.approx(1e-3)] * 2


def test_a_batch_without_any_id_of_a_table():
    """Only padding: nothing is touched, the penalty still counts."""
    fmap = feature_map({"a": categorical(5), "n": numeric()})
    model = small_model("SharedBottom", fmap, embedding_regularizer=0.5)
    twin = as_fuxictr(model, 1e-3)
    columns = {**batch(fmap), "a": torch.zeros(16, dtype=torch.long)}
    torch.testing.assert_close(model.train_step(columns), twin.train_step(columns).detach())
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_numeric_fields_alone():
    fmap = feature_map({"n": numeric(), "k": numeric()})
    model = small_model("MMoE", fmap, embedding_regularizer=0.5, net_regularizer=0.1)
    twin = as_fuxictr(model, 1e-3)
    np.testing.assert_allclose(
        losses_of_steps(model, fmap, 5), losses_of_steps(twin, fmap, 5), rtol=1e-6
    )


def test_another_optimizer_or_penalty_takes_fuxictrs_step():
    fmap = feature_map()
    for settings in ({"optimizer": "SGD"}, {"embedding_regularizer": "l1(0.01)"}):
        model = small_model("STEMNet", fmap, **settings)
        table = model.embedding_layer.tables[0].table.weight
        model.train_step(batch(fmap))
        assert table.grad is not None
        with pytest.raises(ConfigError, match="row_sparse: needs optimizer adam"):
            small_model("STEMNet", fmap, row_sparse=True, **settings)


@pytest.mark.parametrize(
    ("regularizer", "expected"),
    [(None, 0), (0, 0), (0.5, 0.5), ("l2(0.5)", 0.5), ("l1(0.5)", None), ("l1_l2(0.1,0.2)", None)],
)
def test_which_penalties_are_l2(regularizer, expected):
    assert l2_penalty(regularizer) == expected


def test_row_sparse_from_the_command_line(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    project.model |= {"row_sparse": True, "embedding_regularizer": 1e-5}
    assert project.run() == 0
    project.model |= {"optimizer": "SGD", "epochs": 0}
    assert project.run() == 2
    error = capfd.readouterr().err
    assert "row_sparse: needs optimizer adam" in error
    assert "2 problems" in error
