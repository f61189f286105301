"""Models are as their papers define them, and a broken one has its fault named."""

import re

import pytest
import torch
from torch import nn

from fuxictr_stem.layers import ExpertLayer, GateBank, free_rules, gates
from fuxictr_stem.models import MultiTaskNet, STEMNet
from fuxictr_stem.models.features import TaskEmbedding
from tests.support.definitions import compare
from tests.support.plain_models import PlainSTEM
from tests.support.small_models import SMALL, batch, feature_map, many_labels, small_model, spread

DEEP = sorted(name for name in SMALL if "num_layers" in SMALL[name])
SHARED = 2  # shared experts of the small models: the last slots


def found(name, fmap=None, size=64, **params):
    fmap = fmap or feature_map()
    return compare(small_model(name, fmap, **params), batch(fmap, size=size))


def one(findings, pattern):
    """The findings that match; the test fails where there is none."""
    matching = [text for text in findings if re.search(pattern, text)]
    assert matching, f"none of these has {pattern!r}: {findings}"
    return matching[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_registered_models_are_as_defined(name, labels, seed):
    fmap = feature_map(labels=min(labels, many_labels(name)))
    assert compare(small_model(name, fmap), batch(fmap, size=40, seed=seed)) == []


@pytest.mark.parametrize("params", [{}, {"batch_norm": True}, {"hidden_activations": "dice"}])
@pytest.mark.parametrize("num_layers", [2, 3])
@pytest.mark.parametrize("name", DEEP)
def test_deep_models_are_as_defined(name, num_layers, params):
    assert found(name, feature_map(labels=3), num_layers=num_layers, **params) == []


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("STEMNet", {"gate_input": "task", "num_layers": 2}),
        ("STEMNet", {"isolate_shared_gate": False}),
        ("STEMAL", {"num_layers": 2, "auxiliary_labels": ["y0", "y2"]}),
        ("PLE", {"num_layers": 3, "shared_gate_reads": "shared"}),
        ("MEPLE", {"num_layers": 3, "shared_gate_reads": "shared"}),
        ("MMoE", {"num_experts": 7, "gate_hidden_units": []}),
    ],
)
def test_variants_by_name_are_as_defined(name, params):
    assert found(name, feature_map(labels=3), **params) == []


@pytest.mark.parametrize("name", sorted(SMALL))
def test_units_that_are_off_are_no_fault(name):
    """Towers and bottoms whose ReLU units are off on every row are wired all the same."""
    fmap = feature_map()
    model = small_model(name, fmap)
    with torch.no_grad():
        model.towers.layers[0].bias.fill_(-100)
    assert compare(model, batch(fmap)) == []


@pytest.mark.parametrize("num_layers", [2, 3])
def test_the_published_shared_gate_is_reported_as_a_leak(num_layers):
    findings = found("STEMNet", num_layers=num_layers, isolate_shared_gate=False)
    leak = one(findings, r"^The loss of y0 reaches table y1 \(0\.\d+\)")
    assert "layer 1 expert y1.1" in leak
    assert "expected exactly 0" in leak
    gate = one(findings, "^Layer 1, gate shared: it must not train expert y0.1, y0.2, y1.1, y1.2")
    assert "isolate_shared_gate" in gate


def changed_train(monkeypatch, change):
    """Let `mix_experts` train what a changed mask says; the layer's own mask stays."""
    original = gates.mix_experts

    def broken(gates_QBE, experts_EBH, train_QE):
        train_QE = train_QE.clone()
        change(train_QE)
        return original(gates_QBE, experts_EBH, train_QE)

    monkeypatch.setattr(gates, "mix_experts", broken)


@pytest.mark.parametrize("name", ["STEMNet", "STEMAL", "PLE", "MEPLE"])
def test_detached_shared_experts_are_named(name, monkeypatch):
    changed_train(monkeypatch, lambda train: train[:, -SHARED:].fill_(0))
    findings = found(name)
    text = one(
        findings, "^Layer 1, gate y1: it must train expert shared.1, shared.2: measured .* 0, 0"
    )
    assert "expected its weight" in text
    one(
        findings,
        "^The loss of y0 does not reach .*layer 1 expert shared.1, layer 1 expert shared.2",
    )


def test_detached_shared_experts_in_the_model_are_named(monkeypatch):
    """The same fault before the gates, where the gates' own code is right."""
    original = GateBank.forward

    def broken(self, x_SBI, experts_EBH):
        own, shared = experts_EBH[:-SHARED], experts_EBH[-SHARED:].detach()
        return original(self, x_SBI, torch.cat([own, shared]))

    monkeypatch.setattr(GateBank, "forward", broken)
    one(found("STEMNet"), "^Layer 1, gate y0: it must train expert shared.1, shared.2")


@pytest.mark.parametrize("name", ["STEMNet", "PLE", "MMoE", "OMoE"])
def test_an_expert_counted_twice_is_named(name, monkeypatch):
    original = gates.mix_experts

    def broken(gates_QBE, experts_EBH, train_QE):
        once = original(gates_QBE, experts_EBH, train_QE)
        return once + gates_QBE[..., -1:] * experts_EBH[-1]

    monkeypatch.setattr(gates, "mix_experts", broken)
    findings = found(name)
    last = "3" if name in ("MMoE", "OMoE") else "shared.2"
    one(findings, rf"counted this many times: {last} \(2\)\.$")
    one(findings, r"the mixture of experts that are all 1 must be 1, but is up to 1\.\d+")


def test_a_changed_mask_is_named():
    """What the layer says of itself is no excuse."""
    fmap = feature_map()
    model = small_model("STEMNet", fmap)
    model.experts.layers[0].gates.train_mask[:, -SHARED:] = 0
    one(compare(model, batch(fmap)), "^Layer 1, gate y0: it must train expert shared.1, shared.2")


def test_a_layer_that_mixes_by_itself_is_measured(monkeypatch):
    """A layer may take the gates' weights and leave the mixing to no `GateBank`."""

    def broken(self, x_SBI):
        tasks, shared = x_SBI[:-1], x_SBI[-1:]
        own, common = self.specific_experts(tasks), self.shared_experts(shared)
        weights = self.gates.weights(tasks + shared)
        parts = [own.detach(), common, common]
        weights = torch.cat([weights, weights[..., -SHARED:]], dim=-1)
        return torch.einsum("qbe,ebh->qbh", weights, torch.cat(parts))

    monkeypatch.setattr(ExpertLayer, "forward", broken)
    findings = found("STEMNet")
    one(findings, r"^Layer 1, gate y0: each .* times: shared.1 \(2\), shared.2 \(2\)\.$")
    one(findings, r"^Layer 1, gate y0: it must train expert y0.1, y0.2, .* gradient 0, 0, 0\.")


class Elsewhere(MultiTaskNet):
    """A model of another package, with gates of ours at a place of its own."""

    def __init__(self, feature_map, **params):
        super().__init__(feature_map, **params)
        width = self.embed(1)
        self.net = nn.ModuleDict({"bank": GateBank(free_rules(2, 3), width, [4])})
        self.block = nn.Linear(width, 3 * 5)
        self.finish(5)

    def forward(self, inputs):
        x_1BI = self.embedded(inputs)
        experts = self.block(x_1BI[0]).unflatten(1, (3, 5)).transpose(0, 1)
        return self.predictions(self.net["bank"](x_1BI, experts))


def test_gates_in_a_model_of_another_package_are_checked(monkeypatch):
    fmap = feature_map()
    model = spread(Elsewhere(fmap, embedding_dim=3))
    assert compare(model, batch(fmap)) == []
    changed_train(monkeypatch, lambda train: train[1].fill_(0))
    (finding,) = compare(model, batch(fmap))
    assert finding.startswith("Net.bank, gate y1: it must train expert 1, 2, 3: measured mean gra")


def test_gates_that_are_never_asked_are_not_reached():
    fmap = feature_map()
    model = small_model("SharedBottom", fmap)
    model.gates = GateBank(free_rules(2, 3), 4, [3])
    assert compare(model, batch(fmap)) == [
        f"The loss of {label} does not reach gate {label}: measured gradient norm 0, expected more "
        f"than 0."
        for label in ("y0", "y1")
    ]


def test_a_shared_expert_added_after_the_gates_is_named(monkeypatch):
    original = ExpertLayer.forward

    def broken(self, x_SBI):
        return original(self, x_SBI) + self.shared_experts(x_SBI[-1:])[0]

    monkeypatch.setattr(ExpertLayer, "forward", broken)
    findings = found("STEMNet", num_layers=2)
    for layer in (1, 2):
        one(findings, rf"^Layer {layer}, gate y0: each expert must count once.*shared.1")
    assert not any("shared.2 (" in text for text in findings)


def test_another_tasks_gradient_is_named(monkeypatch):
    changed_train(monkeypatch, lambda train: train[0].fill_(1))
    findings = found("STEMNet", feature_map(labels=3))
    assert len(findings) == 2
    one(findings, r"^The loss of y0 reaches table y1 \(.*, table y2 \(.*layer 1 expert y1.1")
    one(findings, "^Layer 1, gate y0: it must not train expert y1.1, y1.2, y2.1, y2.2: .*exactly 0")


def test_labels_are_written_as_they_are(monkeypatch):
    changed_train(monkeypatch, lambda train: train[0].fill_(1))
    fmap = feature_map()
    fmap.labels = ["isClick", "longView"]
    findings = found("STEMNet", fmap)
    one(findings, "^The loss of isClick reaches table longView")
    one(findings, "^Layer 1, gate isClick: it must not train expert longView.1, longView.2")


def test_a_leak_of_a_millionth_is_found(monkeypatch):
    """Exactly 0 is meant: a small number is a leak, too."""
    changed_train(monkeypatch, lambda train: train[0].clamp_(min=1e-6))
    one(found("STEMNet"), "^Layer 1, gate y0: it must not train expert y1.1")


@pytest.mark.parametrize(
    ("table", "label", "name"), [(0, "y0", "y0"), (2, "y1", "shared"), (2, "y0", "shared")]
)
def test_a_detached_table_is_named(table, label, name, monkeypatch):
    original = TaskEmbedding.forward

    def broken(self, inputs):
        x_KBI = original(self, inputs)
        return torch.stack([x.detach() if k == table else x for k, x in enumerate(x_KBI)])

    monkeypatch.setattr(TaskEmbedding, "forward", broken)
    findings = found("STEMNet")
    assert all("table" in text for text in findings)
    one(findings, rf"^The loss of {label} does not reach table {name}: measured .* 0")


class SwappedGates(STEMNet):
    """Tower i reads the mixture of another task."""

    def forward(self, inputs):
        return self.predictions(self.experts(self.embedded(inputs)).flip(0))


def test_a_subclass_is_held_to_its_parents_definition():
    fmap = feature_map()
    model = SwappedGates(fmap, embedding_dim=3, **SMALL["STEMNet"])
    findings = compare(model, batch(fmap))
    one(findings, "^The loss of y0 does not reach table y0, .*layer 1 gate y0")
    one(findings, "^The loss of y0 reaches table y1")


def misplaced(weights):
    """The first gate's weights, two experts further on."""
    return torch.stack([weights[0].roll(2, -1), *weights[1:]])


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda w: 1.5 * w, r"gate y0: its weights must sum to 1 .* up to 1\.5"),
        (lambda w: 2 * w - w.mean(-1, keepdim=True), "gate y1: its weights must not be negative"),
        (misplaced, "gate y0: it must read expert shared.1, shared.2, but .* weight is 0, 0"),
        (misplaced, r"gate y0: it must not read expert y1.1, y1.2, but .* weight is 0\.\d"),
    ],
)
def test_wrong_weights_are_named(change, pattern, monkeypatch):
    original = GateBank.weights
    monkeypatch.setattr(GateBank, "weights", lambda self, x_SBI: change(original(self, x_SBI)))
    one(found("PLE"), f"^Layer 1, {pattern}")


def test_dead_parts_are_named():
    fmap = feature_map()
    model = small_model("SharedBottom", fmap)
    model.unused = nn.Linear(2, 2)
    assert compare(model, batch(fmap)) == [
        "No task's loss reaches unused: it is a dead part, which nothing trains."
    ]
    published = PlainSTEM(fmap, embedding_dim=3, **SMALL["STEMNet"])
    one(compare(published, batch(fmap, size=64)), "reaches stem_layers 0 gate 2: it is a dead part")


def test_a_batch_without_a_sample_of_a_task_is_told():
    fmap = feature_map()
    columns = batch(fmap)
    columns["y1"] = torch.full_like(columns["y1"], torch.nan)
    findings = compare(small_model("STEMNet", fmap), columns)
    assert len(findings) == 1
    assert "The loss of y1 reaches nothing at all" in findings[0]
