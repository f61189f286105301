"""The audit: faults that gradients show without a definition, and the command that prints them."""

import pytest
import torch
from torch import nn

from fuxictr_stem.analysis.audit import audit, audit_experiment
from fuxictr_stem.cli import main
from fuxictr_stem.layers import GateBank, free_rules, gates
from fuxictr_stem.models.features import TaskEmbedding
from tests.support.plain_models import PlainSTEM
from tests.support.project import Project
from tests.support.small_models import SMALL, batch, feature_map, many_labels, small_model

DEEP = sorted(name for name in SMALL if "num_layers" in SMALL[name])


def audited(name, fmap=None, size=64, **params):
    fmap = fmap or feature_map()
    return audit(small_model(name, fmap, **params), batch(fmap, size=size))


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_registered_models_have_no_fault(name, labels):
    fmap = feature_map(labels=min(labels, many_labels(name)))
    assert audit(small_model(name, fmap), batch(fmap, size=40)) == []


@pytest.mark.parametrize("num_layers", [2, 3])
@pytest.mark.parametrize("name", DEEP)
def test_deep_models_have_no_fault(name, num_layers):
    assert audited(name, feature_map(labels=3), num_layers=num_layers) == []


@pytest.mark.parametrize("name", sorted(SMALL))
def test_units_that_are_off_are_no_fault(name):
    """Towers whose ReLU units are off on every row are wired all the same."""
    fmap = feature_map()
    model = small_model(name, fmap)
    with torch.no_grad():
        model.towers.layers[0].bias.fill_(-100)
    assert audit(model, batch(fmap)) == []


@pytest.mark.parametrize("num_layers", [2, 3])
def test_the_published_shared_gate_leaks(num_layers):
    findings = audited("STEMNet", num_layers=num_layers, isolate_shared_gate=False)
    assert len(findings) == 2
    assert findings[0].startswith("The loss of y0 reaches table y1 (0.")
    assert "layer 1 expert y1.1" in findings[0]
    assert "expected exactly 0" in findings[0]


def test_a_leak_of_a_millionth_is_found(monkeypatch):
    """Exactly 0 is meant, whatever the layer's mask says."""
    original = gates.mix_experts

    def leaking(gates_QBE, experts_EBH, train_QE):
        train_QE = train_QE.clone()
        train_QE[0].clamp_(min=1e-6)
        return original(gates_QBE, experts_EBH, train_QE)

    monkeypatch.setattr(gates, "mix_experts", leaking)
    (finding,) = audited("STEMNet", feature_map(labels=3))
    assert finding.startswith("The loss of y0 reaches table y1 (")
    assert "table y2" in finding


@pytest.mark.parametrize("name", ["STEMNet", "MEPLE", "MEMMoE"])
def test_a_detached_table_is_named(name, monkeypatch):
    original = TaskEmbedding.forward

    def broken(self, inputs):
        x_KBI = original(self, inputs)
        return torch.stack([x_KBI[0].detach(), *x_KBI[1:]])

    monkeypatch.setattr(TaskEmbedding, "forward", broken)
    assert audited(name) == [
        "The loss of y0 does not reach table y0: measured gradient norm 0, expected more than 0."
    ]


def test_a_shared_part_that_one_task_does_not_reach_is_named():
    fmap = feature_map()
    model = small_model("STEMNet", fmap)
    model.experts.layers[0].gates.train_mask[0, -1] = 0
    (finding,) = audit(model, batch(fmap))
    assert finding.startswith("The loss of y0 does not reach layer 1 expert shared.2:")


def test_gates_that_are_never_asked_are_named():
    model = small_model("SharedBottom", feature_map())
    model.gates = GateBank(free_rules(2, 3), 4, [3])
    findings = audit(model, batch(feature_map()))
    assert [text.split(":")[0] for text in findings] == [
        f"The loss of {label} does not reach gate {label}" for label in ("y0", "y1")
    ]


def test_dead_parts_are_named():
    fmap = feature_map()
    model = small_model("SharedBottom", fmap)
    model.unused = nn.Linear(2, 2)
    assert audit(model, batch(fmap)) == [
        "No task's loss reaches unused: it is a dead part, which nothing trains."
    ]
    published = PlainSTEM(fmap, embedding_dim=3, **SMALL["STEMNet"])
    (finding,) = audit(published, batch(fmap, size=64))
    assert "reaches stem_layers 0 gate 2: it is a dead part" in finding


def test_a_batch_without_a_sample_of_a_task_is_reported():
    fmap = feature_map()
    columns = batch(fmap)
    columns["y1"] = torch.full_like(columns["y1"], torch.nan)
    (finding,) = audit(small_model("STEMNet", fmap), columns)
    assert "The loss of y1 reaches nothing at all" in finding


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    project.model |= {"num_layers": 2}
    project.dataset["feature_cols"] += [
        {"name": "tags", "active": True, "dtype": "str", "type": "sequence", "splitter": "^"},
        {
            "name": "t",
            "active": True,
            "dtype": "str",
            "type": "categorical",
            "share_embedding": "user",
        },
        {"name": "off", "active": False, "dtype": "str", "type": "categorical"},
    ]
    project.frames = {}  # no data is needed
    return project


def test_an_experiment_is_audited_without_data(project, tmp_path):
    project.write()
    before = sorted(path.name for path in tmp_path.rglob("*"))
    random = torch.get_rng_state()
    result = audit_experiment(tmp_path / "config", "toy_test")
    assert result.findings == []
    assert result.flow.labels == ["like", "view"]
    assert result.flow.parts[:3] == ["table like", "table view", "table shared"]
    assert torch.equal(torch.get_rng_state(), random)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_model_of_a_cuda_format_is_audited_on_the_cpu(project, tmp_path):
    project.model["precision"] = "tf32"
    project.write_configs()
    assert audit_experiment(tmp_path / "config", "toy_test").findings == []


def test_nested_labels_and_sample_spaces_are_audited(project, tmp_path):
    project.dataset["label_col"] = [
        {"name": "buy", "dtype": "float", "parent": "like"},
        {"name": "like", "dtype": "float", "parent": "view"},
        {"name": "view", "dtype": "float"},
        {"name": "weight", "dtype": "float"},
    ]
    project.model |= {
        "task_labels": ["like", "buy"],
        "loss_weight": "UW",
        "sample_spaces": {"buy": "view"},
        "sample_weight": "weight",
    }
    project.write()
    result = audit_experiment(tmp_path / "config", "toy_test")
    assert result.findings == []
    assert (result.flow.norms[:, 2] > 0).all()


def test_the_command_line_tells_of_findings_by_its_exit_code(project, capsys):
    project.write()
    command = ["audit", "--config", "config", "--expid"]
    assert main([*command, "toy_test"]) == 0
    assert "No finding" in capsys.readouterr().out
    project.model |= {"isolate_shared_gate": False}
    project.write()
    assert main([*command, "toy_test"]) == 1
    out = capsys.readouterr().out
    assert "2 findings:" in out
    assert "- The loss of like reaches table view" in out
    assert main([*command, "toy"]) == 2
