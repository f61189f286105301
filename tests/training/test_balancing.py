"""Gradient balancing: which weights it touches, and what it makes of their gradients."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.models import SharedBottom
from fuxictr_stem.training.balancing import METHODS, GradientBalancer
from tests.support.small_models import SMALL, batch, feature_map, small_model, spread

ALL = sorted(SMALL)


def conflicting(fmap, size=32, seed=0):
    """A batch whose tasks want the opposite."""
    columns = batch(fmap, size=size, seed=seed)
    for label in fmap.labels[1:]:
        columns[label] = 1 - columns["y0"]
    return columns


def gradients(model, columns):
    """The gradients of a training step by parameter, before clipping."""
    model.optimizer.zero_grad()
    model.backward(columns)
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.numel()
    }


def pcgrad(gradients):
    """Yu et al., NeurIPS 2020, algorithm 1, for two tasks."""
    one, other = gradients
    product = one @ other
    if product >= 0:
        return one + other
    return one - product / (other @ other) * other + other - product / (one @ one) * one


class WithScalar(SharedBottom):
    """A model of another package: one learnt number, of no dimension, and one parameter without any."""

    def __init__(self, *args, **params):
        super().__init__(*args, **params)
        self.temperature = nn.Parameter(torch.tensor(0.7))
        self.nothing = nn.Parameter(torch.empty(0, 3))
        self.compile("adam", self._compile_with[1], 1e-3)

    def predictions(self, x_TBH):
        return super().predictions(x_TBH * self.temperature)


def test_a_single_number_is_balanced_as_a_row_of_one():
    """PCGrad's formula over the bottom and that number together."""
    fmap = feature_map()
    columns = conflicting(fmap)
    model = WithScalar(fmap, embedding_dim=3, **SMALL["SharedBottom"])
    spread(model)
    own = []
    for task in range(2):
        model.zero_grad()
        model.task_losses(model(columns), model.get_labels(columns))[task].backward()
        own.append(
            {k: p.grad for k, p in model.named_parameters() if "bottom" in k or k == "temperature"}
        )
    balanced = WithScalar(
        fmap, embedding_dim=3, gradient_balancing="PCGrad", **SMALL["SharedBottom"]
    )
    balanced.load_state_dict(model.state_dict())
    found = gradients(balanced, columns)
    flat = [torch.cat([g.flatten() for g in grads.values()]).double() for grads in own]
    expected = pcgrad(flat)
    assert flat[0] @ flat[1] < 0, "nothing to project: the test shows nothing"
    at = 0
    for name, grad in own[0].items():
        wanted = expected[at : at + grad.numel()].view(grad.shape)
        torch.testing.assert_close(found[name].double(), wanted, atol=1e-7, rtol=1e-4)
        at += grad.numel()
    assert found["temperature"].shape == ()
    balanced.train_step(columns)
    assert balanced.temperature != model.temperature


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("params", [{}, {"net_regularizer": 0.1, "embedding_regularizer": 0.1}])
def test_the_sum_is_plain_training(name, params):
    fmap = feature_map()
    plain = small_model(name, fmap, **params)
    summed = small_model(name, fmap, gradient_balancing="Sum", **params)
    for seed in range(4):
        columns = conflicting(fmap, seed=seed)
        torch.testing.assert_close(summed.train_step(columns), plain.train_step(columns))
    for ours, theirs in zip(summed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("method", ["MGDA", "AlignedMTL"])
@pytest.mark.parametrize("name", ALL)
def test_tables_and_towers_keep_their_gradients(name, method):
    """To the last bit; what two tasks share changes, since these methods weigh any two unlike."""
    fmap = feature_map()
    columns = conflicting(fmap)
    params = {"embedding_regularizer": 0.1, "net_regularizer": 0.1}
    plain = gradients(small_model(name, fmap, **params), columns)
    model = small_model(name, fmap, gradient_balancing=method, **params)
    balanced = gradients(model, columns)
    changed = {key for key, value in plain.items() if not torch.equal(balanced[key], value)}
    assert not [key for key in changed if key.startswith("embedding_layer")]
    if name == "ESMM":
        # pCTR is part of both predictions: its tower is shared, the other's is not.
        assert changed
        for key in changed:
            assert torch.equal(balanced[key][0], plain[key][0])
    else:
        assert not [key for key in changed if key.startswith("towers")]
        assert changed
    own = [key for key in plain if "specific_experts" in key]
    for key in own:
        assert torch.equal(balanced[key], plain[key]), "an expert that one task trains"
    assert bool(own) == (name in ("STEMNet", "STEMAL", "PLE", "MEPLE"))


def test_shared_bottom_under_pcgrad_is_the_papers_formula():
    fmap = feature_map()
    columns = conflicting(fmap)
    model = small_model("SharedBottom", fmap, gradient_balancing="PCGrad")
    own = []
    for task in range(2):
        model.zero_grad()
        model.task_losses(model(columns), model.get_labels(columns))[task].backward()
        bottom = {k: p for k, p in model.named_parameters() if "bottom" in k}
        own.append(torch.cat([p.grad.flatten() for p in bottom.values()]).double())
    assert own[0] @ own[1] < 0, "nothing to project: the test shows nothing"
    found = gradients(model, columns)
    found = torch.cat([found[key].flatten() for key in bottom]).double()
    torch.testing.assert_close(found, pcgrad(own), atol=1e-7, rtol=1e-4)
    assert (found - own[0] - own[1]).norm() > 1e-3


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_pcgrad_of_two_gradients(seed):
    rng = np.random.default_rng(seed)
    gradients = torch.from_numpy(rng.normal(size=(2, 5)))
    found = GradientBalancer("PCGrad").combine(gradients)
    torch.testing.assert_close(found, pcgrad(gradients))


@pytest.mark.parametrize("name", ["UPGrad", "DualProj", "MGDA", "ConFIG", "AlignedMTL", "CAGrad"])
def test_no_task_loses(name):
    """What these promise: the step goes uphill for no task whose gradients do not cancel out."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        gradients = torch.from_numpy(rng.normal(size=(2, 6)))
        combined = GradientBalancer(name).combine(gradients)
        assert (gradients @ combined).min() > (-1e-2 if name != "CAGrad" else -1.0)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_equal_gradients_give_their_sum(name, count):
    one = torch.tensor([1.0, -2.0, 0.5, 3.0])
    found = GradientBalancer(name).combine(one.repeat(count, 1))
    torch.testing.assert_close(found, count * one, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_gradient_of_zeros_takes_no_part(name):
    balancer = GradientBalancer(name)
    one, other = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 1.0, 3.0]])
    nothing = torch.zeros(3)
    torch.testing.assert_close(balancer.combine(torch.stack([nothing, one])), one)
    for rows in ([one, nothing, other], [one, other]):
        torch.manual_seed(0)
        found = balancer.combine(torch.stack(rows))
        if len(rows) == 3:
            expected = found
    torch.testing.assert_close(found, expected)
    assert torch.equal(balancer.combine(torch.zeros(2, 3)), nothing)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_task_without_a_label_in_the_batch(method):
    """The other's gradients are as plain training's."""
    fmap = feature_map()
    columns = {**batch(fmap), "y1": torch.full((16,), float("nan"))}
    plain = gradients(small_model("PLE", fmap), columns)
    balanced = gradients(small_model("PLE", fmap, gradient_balancing=method), columns)
    for key, value in plain.items():
        torch.testing.assert_close(balanced[key], value, msg=key)


@pytest.mark.parametrize("loss_weight", ["UW", "DWA", [0.1, 2.0]])
def test_weighted_losses_are_what_is_balanced(loss_weight):
    fmap = feature_map()
    plain = small_model("MMoE", fmap, loss_weight=loss_weight)
    summed = small_model("MMoE", fmap, loss_weight=loss_weight, gradient_balancing="Sum")
    for epoch in range(4):
        columns = conflicting(fmap, seed=epoch)
        for one in (plain, summed):
            one._epoch_index = epoch
            one.train_step(columns)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(
            summed.state_dict()[key], value, atol=1e-6, rtol=1e-5, equal_nan=True
        )


def test_aitms_calibrator_is_added_as_it_is():
    fmap = feature_map()
    columns = conflicting(fmap)
    plain = small_model("AITM", fmap, calibrator_weight=0.6)
    summed = small_model("AITM", fmap, calibrator_weight=0.6, gradient_balancing="Sum")
    expected, found = gradients(plain, columns), gradients(summed, columns)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "method", "named"),
    [("torchjd.aggregation", "PCGrad", "torchjd"), (None, "UPGrad", "quadprog")],
)
def test_what_is_not_installed_is_named(monkeypatch, module, method, named):
    if module is not None:
        monkeypatch.setitem(sys.modules, module, None)
    else:
        find = "torchjd._mixins.find_spec"
        monkeypatch.setattr(find, lambda name: None if name == named else object())
    expected = rf"{method} balances gradients by packages.*{named}.*pip install \"torchjd\[quad"
    with pytest.raises(ConfigError, match=expected):
        GradientBalancer(method)
