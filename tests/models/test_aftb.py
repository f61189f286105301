"""All forward, task-specific backward: the zeros of the gradient table, at any depth, exactly."""

import pytest
import torch

from fuxictr_stem.layers import (
    GateBank,
    GateRules,
    aftb_rules,
    cgc_rules,
    expert_owner,
    mix_experts,
)
from tests.support.small_models import SMALL, batch, feature_map, many_labels, small_model

SHARED = "shared"


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


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("num_layers", [1, 2])
def test_every_parameter_gets_a_gradient(name, num_layers):
    fmap = feature_map(labels=many_labels(name))
    extra = {"num_layers": num_layers} if "num_layers" in SMALL[name] else {}
    # Not ReLU, whose few units here could all be off by chance.
    model = small_model(name, fmap, hidden_activations="LeakyReLU", **extra)
    columns = batch(fmap, size=64)
    model.add_loss(model(columns), model.get_labels(columns)).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"no gradient for {parameter_name}"
        # Group by group: a dead expert, gate or tower must not hide behind its neighbours.
        for part in parameter.grad if parameter.dim() == 3 else [parameter.grad]:
            assert part.abs().max() > 0, f"a part of {parameter_name} gets no gradient"


def test_forward_everything_reaches_everything():
    """Turning any stream changes every task's output, the gate of that task held fixed."""
    gates = torch.rand(3, 4, 5)
    experts = torch.randn(5, 4, 6)
    owner = expert_owner(3, 1, 2)
    before = mix_experts(gates, experts, aftb_rules(3, 1, 2).train.float())
    for slot in range(len(owner)):
        moved = experts.clone()
        moved[slot] += 1
        after = mix_experts(gates, moved, aftb_rules(3, 1, 2).train.float())
        assert (after != before).any(dim=-1).all()


def test_mix_experts_is_a_masked_product():
    """Against stop-gradients spelled out, expert by expert, in float64."""
    train = torch.tensor([[1, 0, 1], [0, 1, 1]]).double()
    gates = torch.rand(2, 7, 3, dtype=torch.double, requires_grad=True)
    experts = torch.randn(3, 7, 4, dtype=torch.double, requires_grad=True)
    outside = torch.randn(2, 7, 4, dtype=torch.double)
    rows = []
    for q in range(2):
        total = 0
        for e in range(3):
            x = experts[e] if train[q, e] else experts[e].detach()
            total = total + gates[q, :, e, None] * x
        rows.append(total)
    expected = torch.stack(rows)
    found = mix_experts(gates, experts, train)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, [gates, experts], outside),
        torch.autograd.grad(expected, [gates, experts], outside),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_rules_of_two_tasks():
    rules = aftb_rules(2, 1, 1)
    assert rules.train.tolist() == [[True, False, True], [False, True, True]]
    assert rules.read.tolist() == [[True] * 3] * 2
    assert expert_owner(2, 1, 1).tolist() == [0, 1, 2]


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


def test_a_shared_expert_counted_twice_would_be_seen():
    """Another one adds the shared experts' mixture twice; the outputs are then no mean any more."""
    gates = torch.rand(2, 9, 3).softmax(-1)
    experts = torch.ones(3, 9, 4)
    train = aftb_rules(2, 1, 1).train.float()
    torch.testing.assert_close(mix_experts(gates, experts, train), torch.ones(2, 9, 4))
    twice = mix_experts(gates, experts, train) + gates[..., 2:] * experts[2]
    assert (twice > 1 + 1e-3).all()


def test_shared_row_of_the_rules():
    isolated = aftb_rules(2, 2, 1, shared_gate=True)
    assert isolated.train[-1].tolist() == [False, False, False, False, True]
    published = aftb_rules(2, 2, 1, shared_gate=True, isolate_shared_gate=False)
    assert published.train[-1].tolist() == [True] * 5
    assert torch.equal(isolated.train[:-1], published.train[:-1])


def test_rules_of_ple():
    rules = cgc_rules(2, 1, 2, shared_gate=True)
    assert rules.read.tolist() == [[1, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
    published = cgc_rules(2, 1, 2, shared_gate=True, shared_gate_reads="shared")
    assert published.read.tolist() == [[1, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert torch.equal(rules.train, rules.read)


def test_rules_of_auxiliary_tasks():
    rules = aftb_rules(2, 1, 1, auxiliary=[1], shared_gate=True)
    assert rules.read.tolist() == [[1, 1, 1], [0, 1, 1], [1, 1, 1]]
    assert rules.train.tolist() == [[1, 0, 1], [0, 1, 1], [0, 0, 1]]


def test_a_gate_reads_only_what_its_rules_say():
    read = torch.tensor([[1, 0, 1], [1, 1, 1]])
    bank = GateBank(GateRules(read, torch.tensor([[1, 0, 0], [0, 1, 1]])), 4, [3])
    weights = bank.weights(torch.randn(2, 9, 4))
    assert torch.equal(weights[0, :, 1], torch.zeros(9))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 9))
    assert [len(output.weight) for output in bank.output] == [2, 3]


@pytest.mark.parametrize(
    ("read", "train", "message"),
    [
        ([[0, 0], [1, 1]], [[0, 0], [1, 1]], "at least one expert"),
        ([[1, 0], [1, 1]], [[1, 1], [1, 1]], "only what it reads"),
    ],
)
def test_impossible_rules_are_refused(read, train, message):
    with pytest.raises(ValueError, match=message):
        GateBank(GateRules(torch.tensor(read), torch.tensor(train)), 4, [3])
