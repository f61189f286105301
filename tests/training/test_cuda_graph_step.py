"""Steps as a CUDA device takes them, without one: recorded as graphs, lost ones looked for together.

What asks `layers.device.on_host` takes its other way here; a CUDA device would take that way, too.
"""

import copy
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fuxictr_stem.config.result_settings import check_settings
from fuxictr_stem.errors import TrainingError
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.training import trainer
from fuxictr_stem.training.cuda_graph_step import WARM_UP, GraphedStep
from fuxictr_stem.training.nan_guard import finite_losses
from fuxictr_stem.training.saving import Saving
from fuxictr_stem.training.trainer import Trainer
from tests.support.small_models import (
    MIXED,
    SMALL,
    Batches,
    batch,
    categorical,
    feature_map,
    losses_of_steps,
    numeric,
    small_model,
)

ALL = sorted(SMALL)


@pytest.mark.parametrize("row_sparse", [False, True])
def test_a_lost_step_changes_nothing(row_sparse, elsewhere):
    elsewhere()
    fmap = feature_map({"a": categorical(9), "n": numeric()})
    model = small_model("STEMNet", fmap, embedding_regularizer=1e-3, row_sparse=row_sparse)
    twin = small_model("STEMNet", fmap, embedding_regularizer=1e-3, row_sparse=row_sparse)
    twin.load_state_dict(copy.deepcopy(model.state_dict()))
    losses_of_steps(model, fmap, 3), losses_of_steps(twin, fmap, 3)
    bad = batch(fmap, seed=9)
    bad["n"][0] = torch.inf
    assert not np.isfinite(model.train_step(bad).item())
    for weight, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(weight, other)
    assert losses_of_steps(model, fmap, 3) == losses_of_steps(twin, fmap, 3)


class Recording:
    """Stands in for CUDA's graphs: recording a step keeps its arguments, replaying takes it."""

    def __init__(self, step):
        self.step, self.optimizer, self.model = step, step.optimizer, step.model
        self.hold_after_lost_step = step.hold_after_lost_step
        self.graph = None
        self.calls, self.recorded = 0, 0
        self.sizes = []

    def __call__(self, columns, max_norm):
        self.calls += 1
        if self.graph is None:
            return self.step(columns, max_norm)
        self.recorded += 1
        self.sizes.append(len(columns["a"]))
        loss = torch.zeros(())
        self.graph.replay = lambda: loss.copy_(self.step(columns, max_norm))
        return loss

    @contextmanager
    def record(self, graph, stream):
        self.graph = graph
        yield
        self.graph = None


@pytest.fixture
def graphed(monkeypatch):
    """Return a model, and the stand-in that its steps go through."""
    fmap = feature_map(MIXED)
    model = small_model("STEMNet", fmap, embedding_regularizer=1e-3)
    recording = Recording(model._adam_step)
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, value in {
        "CUDAGraph": SimpleNamespace,
        "graph": recording.record,
        # None for any device but the model's.
        "Stream": lambda device: stream if device == model.device else None,
        "current_stream": lambda device: stream if device == model.device else None,
        "stream": lambda other: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    model._adam_step = GraphedStep(recording)
    return model, fmap, recording


def test_a_graph_takes_the_steps_of_whole_batches_and_learns_of_new_rates(graphed):
    model, fmap, recording = graphed
    twin = small_model("STEMNet", fmap, embedding_regularizer=1e-3)
    losses = []
    for one in (model, twin):
        trace = []
        for step, size in enumerate([16] * 6 + [5] + [16] * 6):
            if step == 9:
                one.lr_decay()
            trace.append(one.train_step(batch(fmap, size=size, seed=step)).item())
        losses.append(trace)
    assert losses[0] == losses[1]
    assert recording.recorded == 2
    # Before each recording the warm-up, and the short batch.
    assert recording.calls == 2 * (WARM_UP + 1) + 1


def test_a_run_that_resumes_at_a_short_batch_records_the_whole_ones(graphed):
    """The last batch of an epoch is the first that such a run sees."""
    model, fmap, recording = graphed
    twin = small_model("STEMNet", fmap, embedding_regularizer=1e-3)
    losses = [
        [
            one.train_step(batch(fmap, size=size, seed=step)).item()
            for step, size in enumerate([5] + [16] * 6 + [5] + [16] * 2)
        ]
        for one in (model, twin)
    ]
    assert losses[0] == losses[1]
    assert recording.sizes == [16]


class Looks(TorchDispatchMode):
    """Counts how often the host waits for a number of the device."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.count = 0
        for name in ("tolist", "numpy", "cpu"):
            monkeypatch.setattr(torch.Tensor, name, self.counted(getattr(torch.Tensor, name)))

    def counted(self, function):
        def count(*args, **kwargs):
            self.count += 1
            return function(*args, **kwargs)

        return count

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.fixture
def on_device(elsewhere, monkeypatch):
    """Have models train as on a CUDA device, and count the looks of the training loop."""
    elsewhere()
    monkeypatch.setattr(MultiTaskNet, "skips_lost_steps", True)
    monkeypatch.setattr(trainer, "predict", lambda *args: None)
    monkeypatch.setattr(trainer, "evaluate_predictions", lambda *args: {"AUC": 0.5, "logloss": 1.0})
    return Looks(monkeypatch)


def test_sixteen_steps_wait_for_the_device_once(on_device, tmp_path, monkeypatch):
    for name in ("save_weights", "load_weights"):
        monkeypatch.setattr(MultiTaskNet, name, lambda model, path: None)
    fmap = feature_map(MIXED)
    model = small_model("STEMNet", fmap, model_root=str(tmp_path))
    batches = Batches(*(batch(fmap, seed=seed) for seed in range(64)))
    with on_device:
        history = Trainer(model, model.tasks).fit(batches, batches, epochs=1)
    # 64 / 16, the first losses by task, and those of the evaluation by task.
    assert on_device.count == 4 + 1 + 1
    twin = small_model("STEMNet", fmap)
    losses = [twin.train_step(columns).item() for columns in batches]
    assert history.evaluations[0]["train_loss"] == np.mean(losses)


@pytest.mark.parametrize("bad", [4, 15, 16, 19])
@pytest.mark.parametrize("row_sparse", [False, True])
def test_the_first_lost_step_is_named_and_nothing_after_it_is_kept(
    bad, row_sparse, on_device, tmp_path
):
    """Among the losses that are looked at together, the last of these, the first and in the rest."""
    fmap = feature_map(MIXED)
    settings = {"embedding_regularizer": 1e-3, "row_sparse": row_sparse}
    settings |= {"task": ["regression", "binary_classification"]}
    settings |= {"loss": ["mse_loss", "binary_crossentropy"]}
    columns = [batch(fmap, seed=seed) for seed in range(20)]
    columns[bad]["y0"][3] = torch.inf
    model = small_model("STEMNet", fmap, model_root=str(tmp_path), **settings)
    saving = Saving(tmp_path / "states", {}, check_settings, {}, steps=3)
    train = Batches(*columns)
    train.state_dict = dict
    message = (
        rf"before step {bad + 1} \(epoch 1, batch {bad + 1}\): .* not finite: task 'y0', inf\."
    )
    with pytest.raises(TrainingError, match=message):
        Trainer(model, model.tasks).fit(train, train, epochs=1, saving=saving)
    twin = small_model("STEMNet", fmap, **settings)
    for one in columns[:bad]:
        twin.train_step(one)
    for (name, weight), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(weight, other), name
    assert not Path(model.checkpoint).exists()
    _, content = saving.states.newest()
    assert content["schedule"]["_total_steps"] == bad // 3 * 3
    assert len(content["progress"]["losses"]) == bad // 3 * 3
    # The model goes on where somebody else takes its steps.
    assert np.isfinite(model.train_step(columns[0]).item())


def test_a_lost_step_in_a_graph_holds_the_others(graphed, on_device):
    model, fmap, recording = graphed
    twin = small_model("STEMNet", fmap, embedding_regularizer=1e-3)
    columns = [batch(fmap, seed=seed) for seed in range(12)]
    columns[7]["n"][2] = torch.nan

    def run():
        with finite_losses(model, together=16) as watch:
            for number, one in enumerate(columns):
                model._total_steps, model._batch_index = number + 1, number
                model.train_step(one)
            watch.look()

    with pytest.raises(TrainingError, match="step 8 .* are not finite: task 'y0' in 1 rows"):
        run()
    assert recording.recorded == 1
    for one in columns[:7]:
        twin.train_step(one)
    for weight, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(weight, other)


def test_what_cannot_be_recorded_runs_all_the_same(graphed, monkeypatch, caplog):
    model, fmap, recording = graphed
    twin = small_model("STEMNet", fmap, embedding_regularizer=1e-3)

    def refuse(graph, stream):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    assert losses_of_steps(model, fmap, 8) == losses_of_steps(twin, fmap, 8)
    assert caplog.text.count("cannot be a CUDA graph") == 1
