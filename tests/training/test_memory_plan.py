"""Memory for training: told before anything is allocated, and right."""

import gc
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from fuxictr_stem import registry
from fuxictr_stem.analysis.synthetic_features import synthetic_feature_map
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.registry import build_model
from fuxictr_stem.runtime.text_table import format_bytes
from fuxictr_stem.training import memory_plan as module
from fuxictr_stem.training.cuda_graph_step import GraphedStep
from fuxictr_stem.training.memory_plan import plan_memory
from fuxictr_stem.training.synthetic_batch import synthetic_batch
from tests.support.project import Project
from tests.support.small_models import (
    SMALL,
    categorical,
    feature_map,
    many_labels,
    numeric,
    sequence,
)

CONFIG = Path(__file__).parents[2] / "config"


def params_of(name, labels=2, **more):
    return {
        "model": name,
        "model_id": f"{name}_toy",
        "optimizer": "adam",
        "gpu": -1,
        "task": ["binary_classification"] * labels,
        "task_labels": [f"y{i}" for i in range(labels)],
        # Nested, as ESMM needs them.
        "label_col": [{"name": "y0"}]
        + [{"name": f"y{i}", "parent": "y0"} for i in range(1, labels)],
        "embedding_dim": 3,
        "batch_size": 64,
        **SMALL[name],
        **more,
    }


def rich_map(labels=2):
    """Every kind of field, with vocabularies that are not alike."""
    return feature_map(
        {
            "a": categorical(901),
            "b": categorical(57, embedding_dim=5),
            "c": {k: v for k, v in categorical(40).items() if k != "padding_idx"},
            "n": numeric(),
            "s": sequence(300, 4),
            "t": sequence(901, 3, share_embedding="a"),
            "m": {"type": "meta", "source": ""},
        },
        labels,
    )


def train_once(model, params, rows=64):
    model.train()
    return model.train_step(synthetic_batch(model.feature_map, params["label_col"], rows))


def held(model):
    """Bytes that the optimizer keeps of the weights."""
    states = model.optimizer.state
    return sum(t.nbytes for p, s in states.items() for t in s.values() if t.shape == p.shape)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("row_sparse", [False, True])
def test_what_is_certain_is_exact(name, row_sparse):
    labels = many_labels(name)
    params = params_of(name, labels, row_sparse=row_sparse)
    needs = plan_memory(params, rich_map(labels)).footprint
    model = build_model(params, rich_map(labels))
    weights = sum(p.nbytes for p in model.parameters())
    tables = sum(t.table.weight.nbytes for t in model.embedding_layer.tables)
    assert needs.tables + needs.dense == weights
    # Fields share a padding row, which counts as one of each here.
    padding = 4 * model.embedding_layer.num_tables * (3 + 5 + 3 + 3)
    assert abs(tables - needs.tables) <= padding
    train_once(model, params)
    assert needs.optimizer == held(model)
    assert needs.gradients == needs.dense + (0 if row_sparse else needs.tables)
    buffers = sum(b.nbytes for b in model._adam_step._buffers)
    assert abs(buffers - (0 if row_sparse else needs.tables)) <= padding


@pytest.mark.parametrize(
    ("optimizer", "states"), [("SGD", 0), ("Adagrad", 1), ("RMSprop", 1), ("AdamW", 2)]
)
def test_other_optimizers_keep_other_states(optimizer, states):
    params = params_of("SharedBottom", optimizer=optimizer)
    needs = plan_memory(params, rich_map()).footprint
    assert needs.optimizer == states * (needs.tables + needs.dense)
    assert needs.gradients == needs.tables + needs.dense
    model = build_model(params, rich_map())
    train_once(model, params)
    assert held(model) == needs.optimizer


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("usage", ["init", "sum", "concat"])
def test_pretrained_vectors(frozen, usage, monkeypatch):
    """Only the tables: a small projection may come beside them."""
    from fuxictr_stem.models import features

    monkeypatch.setattr(
        features,
        "read_vectors",
        lambda name, spec, folder, width: torch.ones(spec["vocab_size"], width),
    )
    spec = categorical(700, pretrained_emb="x.npz", pretrain_dim=6, freeze_emb=frozen, oov_idx=699)
    fields = {"p": {**spec, "pretrain_usage": usage}, "a": categorical(9)}
    needs = plan_memory(params_of("STEMNet"), feature_map(fields)).footprint
    layer = build_model(params_of("STEMNet"), feature_map(fields)).embedding_layer
    found = [*layer.tables.parameters()]
    for vectors in layer.pretrained:
        found += [m.weight for m in vectors.modules() if isinstance(m, torch.nn.Embedding)]
        found += [] if vectors.vectors is None else [vectors.vectors]
    assert needs.tables == pytest.approx(sum(t.nbytes for t in found), abs=200)


def peak_of_a_step(model, params, rows):
    """The most bytes that a step of training holds at once, beside what was there before."""
    # The first step makes the optimizer's state.
    train_once(model, params, 8)
    batch = synthetic_batch(model.feature_map, params["label_col"], rows)
    # What an earlier test has left must not be freed in between.
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model.train_step(batch)
    events = profiler.profiler.kineto_results.events()
    # A stable sort: what is freed and taken in one nanosecond stays in its order.
    changes = sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns())
    now = most = 0
    for change in changes:
        now += change.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("name", [*SMALL, "STEMNet_kuairand_pure", "SharedBottom_kuairand_pure"])
def test_activations_of_the_shipped_models(name):
    """Within a factor of 1.3 of what PyTorch allocates in a step of the networks as they are shipped."""
    expid = name if "_" in name else f"{name}_tiktok"
    params = {**load_experiment(CONFIG, expid), "gpu": -1, "batch_size": 1024}
    fmap = synthetic_feature_map(params)
    needs = plan_memory(params, fmap).footprint
    peak = peak_of_a_step(build_model(params, fmap), params, 1024)
    # The gradients of dense weights come and go with a step; those of tables stay.
    assert 1 / 1.3 < (needs.activations + needs.dense) / peak < 1.3


def test_a_run_draws_the_same_numbers_after_it():
    torch.manual_seed(3)
    plan_memory(params_of("STEMNet", net_dropout=0.2), rich_map())
    after = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(3))


@pytest.mark.parametrize(("short", "fits"), [(0, True), (1, False)])
def test_refused_exactly_where_the_certain_part_does_not_fit(monkeypatch, short, fits):
    params = params_of("STEMNet")
    certain = plan_memory(params, rich_map()).footprint.certain
    monkeypatch.setattr(module, "available_bytes", lambda: certain - short)
    if fits:
        assert plan_memory(params, rich_map()).data_budget == 0
    else:
        with pytest.raises(
            ConfigError, match="STEMNet_toy cannot be trained in the memory of the CPU"
        ):
            plan_memory(params, rich_map())


@pytest.mark.parametrize(
    ("size", "more"),
    [(2**31 + 5, {"embedding_dim": 512}), (2**62, {}), (100, {"embedding_dim": 10**400})],
)
def test_tables_that_cannot_fit_are_refused_before_they_are_allocated(size, more):
    fmap = feature_map({"user": categorical(size), "b": categorical(5)})
    with pytest.raises(ConfigError) as caught:
        plan_memory(params_of("STEMNet", **more), fmap)
    text = str(caught.value)
    assert "cannot be trained in the memory of the CPU: it needs" in text
    assert f"the most ids: user {size:,}, b 5" in text
    for change in ("lower embedding_dim", "raise min_categr_count", "set row_sparse: True"):
        assert change in text
    with pytest.raises(ConfigError) as caught:
        plan_memory(params_of("STEMNet", row_sparse=True, **more), fmap)
    assert "set row_sparse" not in str(caught.value)


def test_row_sparse_makes_room(monkeypatch):
    fmap = feature_map({"user": categorical(10**6)})
    least = plan_memory(params_of("STEMNet", row_sparse=True), fmap).footprint.certain
    monkeypatch.setattr(module, "available_bytes", lambda: least)
    plan_memory(params_of("STEMNet", row_sparse=True), fmap)
    with pytest.raises(ConfigError, match="gradients 34.*MiB.*set row_sparse: True"):
        plan_memory(params_of("STEMNet"), fmap)


@pytest.mark.parametrize("width", [10**12, 10**30])
def test_a_layer_that_cannot_be_is_refused(width):
    with pytest.raises(ConfigError, match="needs more memory than there is"):
        plan_memory(params_of("SharedBottom", tower_hidden_units=[width]), rich_map())


def test_a_model_that_takes_no_step_on_a_few_rows_is_let_through(monkeypatch, caplog):
    def build(params, fmap):
        model = build_model(params, fmap)
        model.forward = lambda inputs: 1 / 0
        return model

    monkeypatch.setattr(module, "build_model", build)
    plan = plan_memory(params_of("SharedBottom"), rich_map())
    assert plan.footprint.tables > 0
    assert "cannot be estimated: division by zero" in caplog.text


def test_on_a_gpu_the_device_counts(monkeypatch):
    params = {**params_of("SharedBottom"), "gpu": 2}
    needs = plan_memory(params_of("SharedBottom"), rich_map()).footprint
    free = {"device": 2**30}
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda gpu: (free["device"] if gpu == 2 else 0, 0)
    )
    monkeypatch.setattr(module, "_estimate", lambda *args: needs)
    plan = plan_memory(params, rich_map())
    assert plan.data_budget == plan.host_free // 2
    free["device"] = needs.certain - 1
    with pytest.raises(ConfigError, match="in the memory of CUDA device 2: it needs"):
        plan_memory(params, rich_map())
    free["device"] = 2**30
    monkeypatch.setattr(module, "available_bytes", lambda: needs.tables + needs.dense - 1)
    with pytest.raises(ConfigError, match="in the memory of the CPU: it needs"):
        plan_memory(params, rich_map())


def test_a_recorded_step_keeps_memory_of_its_own(monkeypatch, caplog):
    """Beside the steps before it, whose memory stays, too; and the batches whose losses wait."""
    params = params_of("STEMNet")
    plain = module.plan_memory(params, rich_map()).footprint

    def build(params, fmap):
        model = build_model(params, fmap)
        model._adam_step = GraphedStep(model._adam_step)
        return model

    monkeypatch.setattr(module, "build_model", build)
    monkeypatch.setattr(MultiTaskNet, "skips_lost_steps", True)
    needs = module.plan_memory(params, rich_map()).footprint
    assert plain.graph == 0
    assert needs.graph == plain.activations + plain.dense
    # 16 batches of 64 rows: 4 fields and a group, sequences of 4 and 3, two labels, in 4 bytes each.
    assert needs.activations == plain.activations + 16 * 64 * (5 + 7 + 2) * 4
    assert needs.certain == plain.certain
    free = needs.total + (90 << 20)
    plan = module.MemoryPlan({"gpu": 0}, needs, free, free)
    assert plan.device_budget == 30 << 20
    caplog.set_level(logging.INFO)
    plan.report(0, 90 << 20)
    assert f"the recorded step about {format_bytes(needs.graph)}: " in caplog.text
    assert "may be more" not in caplog.text
    plan.report(0, (90 << 20) + 1)
    assert "This may be more memory than CUDA device 0 has" in caplog.text


def test_other_packages_models_are_counted(monkeypatch):
    from tests.support.plain_models import PlainSharedBottom

    class Plain(PlainSharedBottom):
        def __init__(self, feature_map, embedding_dim, tower_hidden_units, **params):
            super().__init__(feature_map, embedding_dim, [7], tower_hidden_units)

    place = SimpleNamespace(name="Plain", value="x:Plain")
    monkeypatch.setattr(registry, "entry_points", lambda group: [place])
    # The process has looked before, and must look again afterwards.
    monkeypatch.setattr(registry, "_places", registry._places.__wrapped__)
    monkeypatch.setattr(
        registry.importlib, "import_module", lambda name: SimpleNamespace(Plain=Plain)
    )
    fmap = feature_map({"a": categorical(901), "b": categorical(57)})
    params = {**params_of("SharedBottom"), "model": "Plain"}
    needs = plan_memory(params, fmap).footprint
    assert needs.tables == 4 * 3 * (901 + 57)
    model = build_model(params, fmap)
    assert needs.tables + needs.dense == sum(p.nbytes for p in model.parameters())
    assert needs.activations > 0


def test_a_run_says_what_it_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    project.model["epochs"] = 1
    assert project.run() == 0
    log = tmp_path / "checkpoints" / "toy" / "toy_test.log"
    lines = log.read_text().splitlines()
    (line,) = [text for text in lines if "Memory for training: tables " in text]
    for part in ("other weights", "gradients", "optimizer", "activations about", "of data"):
        assert part in line
    assert lines.index(line) < next(i for i, text in enumerate(lines) if "Start training" in text)
    assert "This may be more memory" not in log.read_text()
    assert sum(text.endswith("in memory") for text in lines) == 3

    # Room for the certain part, but not for the rest: the data stream, and a warning says so.
    monkeypatch.setattr(module, "available_bytes", lambda: 30_000)
    assert project.run() == 0
    more = log.read_text().splitlines()
    assert sum("This may be more memory than the CPU has. Lower batch_size" in t for t in more) == 1
    assert sum(text.endswith("streamed") for text in more) == 3


def test_data_on_a_cuda_device_gets_a_share_of_what_training_leaves(caplog):
    """Of what was free before the gradients and the optimizer's state, which come later."""
    caplog.set_level(logging.INFO)
    needs = module.Footprint(16 << 30, 1 << 30, 17 << 30, 34 << 30, 3 << 30)
    plan = module.MemoryPlan({"gpu": 0}, needs, 80 << 30, 200 << 30)
    assert plan.device_budget == 3 << 30
    assert plan.data_budget == 100 << 30
    plan.report(5 << 30, 2 << 30)
    assert (
        "73.0 GiB of 80.0 GiB available to CUDA device 0, with 2.0 GiB of data there" in caplog.text
    )
    assert "5.0 GiB in the CPU's" in caplog.text
    assert "may be more" not in caplog.text
    plan.report(0, 10 << 30)
    assert "This may be more memory than CUDA device 0 has" in caplog.text
    assert module.MemoryPlan({"gpu": -1}, needs, 80 << 30, 80 << 30).device_budget is None


def test_a_run_that_cannot_fit_ends_with_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    monkeypatch.setattr(module, "available_bytes", lambda: 1 << 10)
    assert project.run() == 2
    error = capsys.readouterr().err
    assert "toy_test cannot be trained in the memory of the CPU: it needs" in error
    assert "Traceback" not in error
    assert not list((tmp_path / "checkpoints").rglob("result.json"))
    assert not list((tmp_path / "checkpoints").rglob("*.safetensors"))
