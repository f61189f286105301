"""MLPs a block of rows at a time: the batched products' values and gradients."""

import copy

import pytest
import torch

from fuxictr_stem.layers import GroupedMLP, blocked
from fuxictr_stem.layers.blocked import relu_mlps
from tests.support.small_models import SMALL, batch, feature_map, small_model


def watched(module):
    """A copy whose layers run as they are, since somebody looks at what they give."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        part.register_forward_hook(lambda *_: None)
    return twin


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(blocked, "BLOCK_ROWS", 4)


@pytest.mark.parametrize("rows", [1, 4, 5, 11])
@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("output_dim", [None, 1, 3])
@pytest.mark.parametrize("units", [[7], [7, 5, 6]])
def test_values_and_gradients_are_those_of_the_batched_products(rows, streams, output_dim, units):
    torch.manual_seed(0)
    mlp = GroupedMLP(4, 6, units, output_dim).double()
    twin = watched(mlp)
    x = torch.randn(streams, rows, 6, dtype=torch.float64, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    assert mlp.relu_group(range(streams), x) is not None
    assert twin.relu_group(range(streams), x) is None
    ours, theirs = mlp(x), twin(other)
    torch.testing.assert_close(ours, theirs)
    grad = torch.randn_like(ours)
    ours.backward(grad)
    theirs.backward(grad)
    torch.testing.assert_close(x.grad, other.grad)
    for one, two in zip(mlp.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)
        assert one.grad.abs().sum() > 0


def test_gradients_by_finite_differences():
    torch.manual_seed(1)
    mlp = GroupedMLP(2, 3, [4, 5]).double()
    x = torch.randn(1, 6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mlp(x), [x])


def test_groups_of_different_depth_join_in_one_output():
    torch.manual_seed(2)
    first, second = GroupedMLP(2, 3, [4, 5]), GroupedMLP(3, 3, [5])
    x = torch.randn(3, 9, 3)
    groups = [first.relu_group([0, 1], x), second.relu_group([2], x)]
    expected = torch.cat([first(x[:2]), second(x[2:])])
    torch.testing.assert_close(relu_mlps(x, groups), expected)


def test_an_input_without_gradient_gets_none():
    mlp = GroupedMLP(2, 3, [4])
    x = torch.randn(1, 5, 3)
    mlp(x).sum().backward()
    assert x.grad is None
    assert all(parameter.grad is not None for parameter in mlp.parameters())


@pytest.mark.parametrize(
    "settings",
    [{"batch_norm": True}, {"hidden_activations": "Dice"}, {"hidden_activations": "Tanh"}]
    + [{"dropout_rates": 0.5}, {"hidden_activations": None}],
)
def test_other_layers_run_as_they_are(settings):
    assert GroupedMLP(2, 3, [4, 5], **settings).relu_group([0], torch.ones(1, 2, 3)) is None


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_model_steps_alike_either_way(name):
    fmap = feature_map()
    model = small_model(name, fmap)
    twin = watched(model)
    for seed in range(3):
        ours, theirs = (m.train_step(batch(fmap, seed=seed)) for m in (model, twin))
        torch.testing.assert_close(ours, theirs)
    for one, two in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
