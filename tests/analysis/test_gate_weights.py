"""Mean gate weights against the gates' own formula, batch by batch and slice by slice."""

import numpy as np
import pytest
import torch

from fuxictr_stem.analysis.gate_weights import gate_weights
from fuxictr_stem.errors import DataError
from fuxictr_stem.layers import GateBank, free_rules
from tests.support.small_models import SMALL, Batches, batch, feature_map, small_model

SIZES = (16, 7, 9)
GATED = ["MEMMoE", "MEPLE", "MMoE", "OMoE", "PLE", "STEMAL", "STEMNet"]


def loader(fmap):
    return Batches(*(batch(fmap, size, seed) for seed, size in enumerate(SIZES)))


def by_hand(model, batches):
    """The weights of each gate bank from softmax of its MLPs: (Q, N, E), unread experts 0."""
    seen = {}
    banks = [m for m in model.modules() if type(m).__name__ == "GateBank"]
    hooks = [
        bank.hidden.register_forward_hook(
            lambda _, args, out, bank=bank: seen.setdefault(bank, []).append(out)
        )
        for bank in banks
    ]
    model.eval()
    with torch.no_grad():
        for one in batches:
            model(one)
    for hook in hooks:
        hook.remove()
    for bank in banks:
        hidden = torch.cat([out.expand(len(bank.output), -1, -1) for out in seen[bank]], dim=1)
        weights = np.zeros((len(bank.output), hidden.shape[1], bank.num_experts))
        for q, (output, slots) in enumerate(zip(bank.output, bank.reads, strict=True)):
            scores = hidden[q].double().numpy() @ output.weight.detach().double().numpy().T
            scores = np.exp(scores + output.bias.detach().double().numpy())
            weights[q][:, slots] = scores / scores.sum(axis=1, keepdims=True)
        yield weights


@pytest.mark.parametrize("name", GATED)
def test_means_and_deviations_equal_the_formula(name):
    fmap = feature_map(labels=3)
    deep = {"num_layers": 2} if "num_layers" in SMALL[name] else {}
    model = small_model(name, fmap, **deep)
    slices = np.random.default_rng(0).integers(0, 3, sum(SIZES))
    found = gate_weights(model, loader(fmap), slices)
    expected = list(by_hand(model, loader(fmap)))
    assert len(found) == len(expected) == (2 if deep else 1)
    for place, weights in zip(found, expected, strict=True):
        assert place.samples == sum(SIZES)
        np.testing.assert_allclose(place.mean, weights.mean(axis=1), atol=1e-6)
        np.testing.assert_allclose(place.std, weights.std(axis=1), atol=1e-6)
        np.testing.assert_allclose(place.mean.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(place.reads, weights.any(axis=1))
        np.testing.assert_array_equal(place.mean[~place.reads], 0)
        np.testing.assert_array_equal(place.slice_samples, np.bincount(slices))
        for number in range(3):
            own = weights[:, slices == number]
            np.testing.assert_allclose(place.slice_mean[number], own.mean(axis=1), atol=1e-6)
            np.testing.assert_allclose(place.slice_std[number], own.std(axis=1), atol=1e-6)
        assert place.std.max() > 1e-3


def test_gates_and_experts_have_names():
    fmap = feature_map()
    layers = gate_weights(small_model("PLE", fmap, num_layers=2), loader(fmap))
    assert [layer.place for layer in layers] == ["layer 1", "layer 2"]
    assert [layer.gates for layer in layers] == [["y0", "y1", "shared"], ["y0", "y1"]]
    experts = ["y0.1", "y0.2", "y1.1", "y1.2", "shared.1", "shared.2"]
    assert layers[0].experts == experts
    assert layers[1].reads.tolist() == [[1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1]]
    (single,) = gate_weights(small_model("OMoE", fmap), loader(fmap))
    assert (single.place, single.gates, single.experts) == ("gates", ["all"], ["1", "2", "3"])


def test_without_slices_there_are_none():
    fmap = feature_map()
    (place,) = gate_weights(small_model("MMoE", fmap), loader(fmap))
    assert place.slice_mean.shape == (0, 2, 3)
    assert place.slice_samples.shape == (0,)


def test_a_slice_without_a_sample_is_nan():
    fmap = feature_map()
    slices = np.full(sum(SIZES), 1)
    (place,) = gate_weights(small_model("MMoE", fmap), loader(fmap), slices, num_slices=3)
    assert place.slice_samples.tolist() == [0, sum(SIZES), 0]
    assert np.isnan(place.slice_mean[[0, 2]]).all()
    np.testing.assert_allclose(place.slice_mean[1], place.mean)


def test_gates_that_are_never_asked_are_left_out():
    model = small_model("SharedBottom", feature_map())
    model.gates = GateBank(free_rules(2, 3), 4, [3])
    assert gate_weights(model, loader(feature_map())) == []


@pytest.mark.parametrize("name", ["AITM", "ESMM", "SharedBottom"])
def test_models_without_gates_have_nothing_to_tell(name):
    fmap = feature_map()
    assert gate_weights(small_model(name, fmap), loader(fmap)) == []


def test_the_model_is_left_as_it_was():
    fmap = feature_map()
    model = small_model("STEMNet", fmap, net_dropout=0.5, batch_norm=True).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    first, second = (gate_weights(model, loader(fmap))[0].mean for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert model.training
    assert model.experts.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        (np.zeros(31, int), "has 31, and the batches hold more"),
        (np.zeros(33, int), "has 33, and the batches hold 32"),
        (np.zeros(32), "whole numbers"),
        (np.full(32, -1), "from -1 to -1"),
    ],
)
def test_slices_that_do_not_fit_are_refused(slices, message):
    fmap = feature_map()
    with pytest.raises(DataError, match=message):
        gate_weights(small_model("MMoE", fmap), loader(fmap), slices)


def test_no_sample_is_refused():
    with pytest.raises(DataError, match="no sample"):
        gate_weights(small_model("MMoE", feature_map()), [])
