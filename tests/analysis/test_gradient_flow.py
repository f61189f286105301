"""The parts of a model, and which task's loss reaches which of them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fuxictr_stem.analysis.gradient_flow import gradient_flow, model_parts
from tests.support.plain_models import PlainPLE, PlainSTEM
from tests.support.small_models import (
    SMALL,
    batch,
    categorical,
    feature_map,
    numeric,
    sequence,
    small_model,
)

RICH = {
    "a": categorical(9),
    "n": numeric(),
    "s": sequence(7, 4),
    "d": categorical(8, embedding_dim=5, feature_encoder="nn.Linear(5, 2)"),
    "e": {"type": "embedding", "source": "", "pretrain_dim": 6},
}


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize(
    "params",
    [{}, {"batch_norm": True}, {"hidden_activations": "prelu"}, {"hidden_activations": "dice"}],
)
def test_parts_are_all_parameters_once(name, params):
    model = small_model(name, feature_map(RICH), **params)
    covered = {parameter: torch.zeros_like(parameter) for parameter in model.parameters()}
    parts = model_parts(model)
    for part in parts:
        for piece in part.take(covered):
            assert piece.numel() > 0
            piece += 1
    for parameter, times in covered.items():
        assert torch.equal(times, torch.ones_like(parameter))
    assert len({part.name for part in parts}) == len(parts)


def test_weights_of_the_losses_are_no_part():
    model = small_model("SharedBottom", feature_map(), loss_weight="UW")
    assert [part.name for part in model_parts(model)] == ["table", "bottom", "tower y0", "tower y1"]


def test_what_is_not_trainable_is_no_part():
    model = small_model("SharedBottom", feature_map())
    model.bottom.requires_grad_(False)
    assert [part.name for part in model_parts(model)] == ["table", "tower y0", "tower y1"]


STEM_PARTS = """table y0,table y1,table shared,
layer 1 expert y0.1,layer 1 expert y0.2,layer 1 expert y1.1,layer 1 expert y1.2,
layer 1 expert shared.1,layer 1 expert shared.2,layer 1 gate y0,layer 1 gate y1,
tower y0,tower y1""".replace("\n", "").split(",")


def test_names_are_the_tasks_labels():
    model = small_model("STEMNet", feature_map())
    assert [part.name for part in model_parts(model)] == STEM_PARTS
    deeper = [
        part.name for part in model_parts(small_model("STEMNet", feature_map(), num_layers=2))
    ]
    assert deeper[9:12] == ["layer 1 gate y0", "layer 1 gate y1", "layer 1 gate shared"]
    aitm = [part.name for part in model_parts(small_model("AITM", feature_map(labels=3)))]
    assert aitm[4:9] == [
        "transfer to y1",
        "transfer to y2",
        "attention value",
        "attention key",
        "attention query",
    ]


def test_as_many_experts_as_tasks_belong_to_nobody():
    model = small_model("MMoE", feature_map(), num_experts=2)
    assert [part.owner for part in model_parts(model) if part.name.startswith("expert")] == [
        None,
        None,
    ]


def gradients(model, columns, task):
    model.zero_grad()
    model.task_losses(model(columns), model.get_labels(columns))[task].backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_norms_are_those_of_the_slices():
    """Against slices of STEM-Net's parameters taken by hand, after a plain backward."""
    model = small_model("STEMNet", feature_map(), embedding_regularizer=0.5, loss_weight=[3, 1])
    columns = batch(model.feature_map, size=64)
    flow = gradient_flow(model, columns)
    assert (flow.labels, flow.parts) == (["y0", "y1"], STEM_PARTS)
    assert flow.norms.dtype == np.float64
    for task, norms in enumerate(flow.norms):
        found = dict(zip(flow.parts, norms, strict=True))
        grads = gradients(model, columns, task)
        table = grads["embedding_layer.tables.0.table.weight"]
        layer = "experts.layers.0."
        expected = {
            "table y0": [table[:, :3]],
            "table y1": [table[:, 3:6]],
            "table shared": [table[:, 6:]],
            "layer 1 expert y1.1": [
                g[2] for n, g in grads.items() if n.startswith(f"{layer}specific")
            ],
            "layer 1 expert shared.2": [
                g[1] for n, g in grads.items() if n.startswith(f"{layer}shared")
            ],
            "layer 1 gate y1": [
                *(g[1] for n, g in grads.items() if n.startswith(f"{layer}gates.hidden")),
                *(g for n, g in grads.items() if n.startswith(f"{layer}gates.output.1")),
            ],
            "tower y0": [g[0] for n, g in grads.items() if n.startswith("towers")],
        }
        for part, slices in expected.items():
            norm = math.sqrt(sum(float(s.double().square().sum()) for s in slices))
            assert found[part] == pytest.approx(norm, rel=1e-6, abs=0)
        whole = math.sqrt(sum(float(g.double().square().sum()) for g in grads.values()))
        assert np.linalg.norm(norms) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("name", ["STEMNet", "STEMAL"])
def test_zeros_of_aftb_are_exact_at_any_depth(name, num_layers):
    fmap = feature_map(labels=3)
    flow = gradient_flow(small_model(name, fmap, num_layers=num_layers), batch(fmap, size=64))
    for label, norms in zip(flow.labels, flow.norms, strict=True):
        others = [other for other in flow.labels if other != label]
        for part, norm in zip(flow.parts, norms, strict=True):
            assert (norm == 0) == any(other in part for other in others), part


def test_baselines_have_full_rows():
    fmap = feature_map(labels=2)
    for name, params in (("MMoE", {}), ("PLE", {"num_layers": 2})):
        model = small_model(name, fmap, hidden_activations="LeakyReLU", **params)
        flow = gradient_flow(model, batch(fmap, size=64))
        shown = [i for i, part in enumerate(flow.parts) if "layer 2" not in part]
        full = [i for i in shown if "table" in flow.parts[i] or "expert" in flow.parts[i]]
        assert (flow.norms[:, full] > 0).all()


def test_fuxictrs_models_are_measured_too():
    """Their parts are known by their paths; the published STEM has a dead gate."""
    fmap = feature_map()
    sizes = {"embedding_dim": 3, **SMALL["PLE"]}
    torch.manual_seed(0)
    flow = gradient_flow(PlainPLE(fmap, **sizes), batch(fmap, size=256))
    rows = dict(zip(flow.parts, flow.norms.T.tolist(), strict=True))
    assert rows["table"][0] > 0 < rows["table"][1]
    assert rows["cgc_layers 0 specific_experts 0 0"][1] == 0 < rows["tower 1"][1]
    flow = gradient_flow(PlainSTEM(fmap, **sizes), batch(fmap))
    assert not flow.norms[:, flow.parts.index("stem_layers 0 gate 2")].any()


def test_the_table_shows_exact_zeros():
    fmap = feature_map()
    flow = gradient_flow(small_model("STEMNet", fmap), batch(fmap))
    header, first, second, *_ = str(flow).splitlines()
    assert header.split() == ["y0", "y1"]
    assert first.split()[:2] == ["table", "y0"]
    assert float(first.split()[2]) == pytest.approx(flow.norms[0, 0], rel=0.01)
    assert first.split()[3] == second.split()[2] == "0"
    assert len({len(line) for line in str(flow).splitlines()}) == 1


def test_the_model_is_left_as_it_was():
    fmap = feature_map()
    model = small_model("STEMNet", fmap, net_dropout=0.5, batch_norm=True)
    model.train()
    model.towers.eval()
    columns = batch(fmap, size=32)
    model.compute_loss(model(columns), model.get_labels(columns)).backward()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    grads = [parameter.grad.clone() for parameter in model.parameters()]
    random = torch.get_rng_state()
    with torch.no_grad():
        first = gradient_flow(model, columns)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(map(torch.equal, (p.grad for p in model.parameters()), grads))
    assert torch.equal(torch.get_rng_state(), random)
    np.testing.assert_array_equal(gradient_flow(model, columns).norms, first.norms)
    assert first.norms.any()


def test_a_part_of_another_package_is_named_by_its_path():
    model = small_model("SharedBottom", feature_map())
    model.extra = nn.ModuleDict({"head": nn.Sequential(nn.Linear(2, 2), nn.ReLU())})
    model.scale = nn.Parameter(torch.ones(1))
    names = [part.name for part in model_parts(model)]
    assert names[-2:] == ["extra head", "scale"]
