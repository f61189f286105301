"""STEM-Net against an oracle written from its equations, and the zeros of its gradients at any depth."""

import pytest
import torch

from tests.support.oracle_models import assert_same, stem_oracle
from tests.support.small_models import batch, feature_map, small_model

SHARED = "shared"


@pytest.mark.parametrize("gate_input", ["task_plus_shared", "task"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize(("k1", "k2"), [(1, 2), (2, 1)])
def test_stem_net(tasks, num_layers, gate_input, k1, k2):
    fmap = feature_map(labels=tasks)
    model = small_model(
        "STEMNet",
        fmap,
        num_layers=num_layers,
        gate_input=gate_input,
        num_specific_experts=k1,
        num_shared_experts=k2,
    ).double()
    columns = batch(fmap, size=5)
    columns["a"][0] = 0  # padding
    assert_same(model, columns, lambda row: stem_oracle(model, columns, row, gate_input, True))


def test_stem_net_with_the_published_shared_gate():
    fmap = feature_map(labels=2)
    model = small_model("STEMNet", fmap, num_layers=3, isolate_shared_gate=False).double()
    columns = batch(fmap, size=5)
    assert_same(
        model, columns, lambda row: stem_oracle(model, columns, row, "task_plus_shared", False)
    )


def owned_gradients(model):
    """The gradients of a STEMNet, cut into (owner, name, part); the owner a task's number or shared."""
    tasks = model.num_tasks
    owners = [*range(tasks), SHARED]
    for name, parameter in model.named_parameters():
        grad = parameter.grad
        grad = torch.zeros_like(parameter) if grad is None else grad
        if ".table." in name:
            yield from zip(owners, [name] * len(owners), grad.chunk(tasks + 1, dim=1), strict=True)
        elif "shared_experts" in name:
            yield SHARED, name, grad
        elif ".gates.output." in name:
            yield owners[int(name.split(".output.")[1].split(".")[0])], name, grad
        else:  # specific experts, hidden layers of the gates, towers: groups in the order of tasks
            per_owner = -(-len(grad) // (tasks + 1)) if ".gates." in name else len(grad) // tasks
            for owner, part in zip(owners, grad.split(per_owner), strict=False):
                yield owner, name, part


@pytest.mark.parametrize("name", ["STEMNet", "STEMAL"])
@pytest.mark.parametrize("gate_input", ["task_plus_shared", "task"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("tasks", [2, 3, 4])
def test_a_task_trains_its_own_and_the_shared_side_only(tasks, num_layers, gate_input, name):
    fmap = feature_map(labels=tasks)
    model = small_model(name, fmap, num_layers=num_layers, gate_input=gate_input)
    columns = batch(fmap, size=64)
    for task in range(tasks):
        model.zero_grad()
        model.task_losses(model(columns), model.get_labels(columns))[task].backward()
        seen = set()
        for owner, name, part in owned_gradients(model):
            if owner in (task, SHARED):
                seen.add(owner)
                assert part.abs().max() > 0, f"task {task} does not train {name} of {owner}"
            else:
                assert torch.equal(part, torch.zeros_like(part)), f"task {task} reaches {name}"
        assert seen == {task, SHARED}


@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_published_shared_gate_leaks_from_two_layers_on(num_layers):
    fmap = feature_map(labels=2)
    model = small_model("STEMNet", fmap, num_layers=num_layers, isolate_shared_gate=False)
    columns = batch(fmap)
    model.task_losses(model(columns), model.get_labels(columns))[0].backward()
    leaks = [n for owner, n, part in owned_gradients(model) if owner == 1 and part.abs().max() > 0]
    assert bool(leaks) == (num_layers > 1)


def test_detached_shared_experts_would_be_seen():
    """A public re-implementation detaches the shared experts, too: no task trains them then."""
    fmap = feature_map(labels=2)
    model = small_model("STEMNet", fmap)
    model.experts.layers[0].gates.train_mask[:, -2:] = 0  # the two shared experts
    columns = batch(fmap, size=64)
    model.add_loss(model(columns), model.get_labels(columns)).backward()
    shared = [part for owner, n, part in owned_gradients(model) if "shared_experts" in n]
    assert shared
    assert not any(part.any() for part in shared)
