"""Gates: what each reads, and where its gradient stops, exactly."""

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
def test_impossible_rules_are_rejected(read, train, message):
    with pytest.raises(ValueError, match=message):
        GateBank(GateRules(torch.tensor(read), torch.tensor(train)), 4, [3])
