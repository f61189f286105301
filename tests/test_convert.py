"""Published weights: whole or not at all."""

import pytest
import torch

from fuxictr_stem.convert import load_reference_state_dict
from fuxictr_stem.errors import ConfigError
from tests.support.plain_models import AS_PUBLISHED, PLAIN, PlainSharedBottom
from tests.support.small_models import SMALL, batch, categorical, feature_map, numeric, small_model

EMBEDDING = "embedding_layer.embedding_layer.embedding_layers.a.weight"
BIAS = "tower.0.mlp.0.bias"
FEATURES = {"a": categorical(9), "n": numeric(), "b": categorical(9, share_embedding="a")}


def published(name="STEMNet", **params):
    fmap = feature_map(FEATURES)
    plain = PLAIN[name](fmap, embedding_dim=3, **{**SMALL[name], **params})
    return fmap, plain


@pytest.mark.parametrize("name", sorted(PLAIN))
@pytest.mark.parametrize("params", [{}, {"batch_norm": True, "net_dropout": 0.3}])
def test_predictions_agree(name, params):
    fmap, plain = published(name, **params)
    columns = batch(fmap, size=32)
    for _ in range(3):
        plain.train()
        plain.train_step(columns)  # moves the running statistics of batch norm, too
    ours = small_model(name, fmap, **{**params, **AS_PUBLISHED.get(name, {})})
    load_reference_state_dict(ours, plain.state_dict())
    for label in fmap.labels:
        expected = plain.eval()(columns)[f"{label}_pred"]
        torch.testing.assert_close(ours.eval()(columns)[f"{label}_pred"], expected)


def test_arrays_are_as_good_as_tensors():
    fmap, plain = published()
    ours = small_model("STEMNet", fmap)
    load_reference_state_dict(ours, {k: v.numpy() for k, v in plain.state_dict().items()})
    twin = small_model("STEMNet", fmap)
    load_reference_state_dict(twin, plain.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("tower.1.mlp.2.bias"), r"missing: tower\.1\.mlp\.2\.bias"),
        (lambda s: s.update({"tower.2.mlp.0.bias": torch.ones(4)}), r"left over: tower\.2\.mlp\.0"),
        (
            lambda s: s.update({"tower.0.mlp.0.bias": torch.ones(9)}),
            r"of another shape: tower\.0\.mlp\.0\.bias \(\(9,\), here \(4,\)\)",
        ),
        (
            lambda s: s.pop("embedding_layer.embedding_layer.embedding_layers.n.weight"),
            r"missing: .*embedding_layers\.n\.weight",
        ),
        (lambda s: s.update({EMBEDDING: torch.ones(())}), r"of another shape: .*a\.weight \(\(\),"),
        (lambda s: s.update({EMBEDDING: s[EMBEDDING].to_sparse()}), "dense and of real numbers"),
        (
            lambda s: s.update({BIAS: s[BIAS].to_sparse()}),
            "dense and of real numbers, found tensor",
        ),
        (lambda s: s.update({BIAS: s[BIAS].to("meta")}), "dense and of real numbers, found tensor"),
        (lambda s: s.update({BIAS: s[BIAS] + 1j}), "dense and of real numbers, found tensor"),
        (lambda s: s.pop("stem_layers.0.gate.0.mlp.2.weight"), r"missing: stem_layers\.0\.gate\.0"),
        (
            lambda s: [s.pop(f"stem_layers.0.gate.0.mlp.0.{part}") for part in ("weight", "bias")],
            r"missing: stem_layers\.0\.gate\.0\.mlp\.<0>\.bias",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    fmap, plain = published()
    state = dict(plain.state_dict())
    change(state)
    ours = small_model("STEMNet", fmap)
    before = [p.clone() for p in ours.parameters()]
    with pytest.raises(ConfigError, match=message):
        load_reference_state_dict(ours, state)
    assert all(torch.equal(a, b) for a, b in zip(before, ours.parameters(), strict=True))


def test_only_the_dead_gate_may_be_left_over():
    fmap, plain = published(num_layers=2)
    ours = small_model("STEMNet", fmap, num_layers=2)
    state = {
        k: v for k, v in plain.state_dict().items() if not k.startswith("stem_layers.1.gate.2.")
    }
    load_reference_state_dict(ours, state)  # without the dead gate
    load_reference_state_dict(ours, plain.state_dict())  # with it
    state = {
        k: v for k, v in plain.state_dict().items() if not k.startswith("stem_layers.0.gate.2.")
    }
    with pytest.raises(ConfigError, match=r"missing: stem_layers\.0\.gate\.2"):
        load_reference_state_dict(ours, state)


def test_fields_stored_differently_are_named():
    fmap = feature_map({"a": categorical(4, feature_encoder="nn.Linear(3, 2)")})
    model = small_model("SharedBottom", fmap)
    before = [p.clone() for p in model.parameters()]
    state = PlainSharedBottom(
        feature_map({"a": categorical(4)}), embedding_dim=3, **SMALL["SharedBottom"]
    ).state_dict()
    with pytest.raises(ConfigError, match="'a'.* cannot be read"):
        load_reference_state_dict(model, state)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
