"""The step as a CUDA device takes it, without one: fixed shapes, no look at numbers, the same result.

What asks `layers.device.on_host` takes its other way here; a CUDA device would take that way, too.
"""

import copy
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import SMALL, batch, categorical, feature_map, numeric, sequence, small_model
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.layers import device
from fuxictr_stem.layers.row_gradients import RowGradients
from fuxictr_stem.models.graphed_step import WARM_UP, GraphedStep

ALL = sorted(SMALL)
MIXED = {
    "a": categorical(40),
    "b": categorical(6, embedding_dim=2),
    "n": numeric(),
    "s": sequence(30, 4),
    "t": sequence(40, 3, share_embedding="a"),
}


@pytest.fixture
def elsewhere(monkeypatch):
    """Have all tensors count as lying on a device."""

    def switch(on=True):
        monkeypatch.setattr(device, "on_host", lambda x: not on)

    return switch


def steps(model, fmap, count, edit=lambda columns: columns):
    return [model.train_step(edit(batch(fmap, seed=i))).item() for i in range(count)]


@pytest.mark.parametrize("max_norm", [1e9, 0.05])
@pytest.mark.parametrize("row_sparse", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_the_same_losses_and_weights_as_on_the_host(name, row_sparse, max_norm, elsewhere):
    fmap = feature_map(MIXED)
    model = small_model(name, fmap, embedding_regularizer=1e-2, row_sparse=row_sparse)
    model._max_gradient_norm = max_norm
    twin = small_model(name, fmap, embedding_regularizer=1e-2, row_sparse=row_sparse)
    twin.load_state_dict(copy.deepcopy(model.state_dict()))
    twin._max_gradient_norm = max_norm
    host = steps(model, fmap, 20)
    elsewhere()
    np.testing.assert_allclose(steps(twin, fmap, 20), host, rtol=1e-5)
    for (name, weight), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(other, weight, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("weights", [False, True])
def test_missing_labels_and_sample_weights(weights, elsewhere):
    """Rows without a label are left out by a weight of 0, not by an index."""
    fmap = feature_map({"a": categorical(9), "w": numeric()})

    def edit(columns):
        for number, label in enumerate(fmap.labels):
            columns[label][number::2] = torch.nan
        columns["w"] = columns["w"].abs()
        return columns

    settings = {"sample_weight": "w"} if weights else {}
    losses = []
    for on in (False, True):
        elsewhere(on)
        model = small_model("STEMNet", fmap, **settings)
        losses.append(steps(model, fmap, 5, edit))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.parametrize("row_sparse", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_a_step_looks_at_no_number(name, row_sparse, elsewhere):
    """Fake tensors have shapes and no numbers: whatever waits for one, or for a shape, raises."""
    elsewhere()
    fmap = feature_map(MIXED)
    model = small_model(name, fmap, embedding_regularizer=1e-2, row_sparse=row_sparse)
    with FakeTensorMode(allow_non_fake_inputs=True):
        columns = {key: x + 0 for key, x in batch(fmap).items()}
        for _ in range(2):
            assert model.train_step(columns).shape == ()


def test_fake_tensors_do_catch_a_look():
    fmap = feature_map(MIXED)
    model = small_model("STEMNet", fmap)
    with FakeTensorMode(allow_non_fake_inputs=True):
        columns = {key: x + 0 for key, x in batch(fmap).items()}
        with pytest.raises(DataDependentOutputException):
            model.train_step(columns)


@pytest.mark.parametrize("row_sparse", [False, True])
def test_a_lost_step_changes_nothing(row_sparse, elsewhere):
    elsewhere()
    fmap = feature_map({"a": categorical(9), "n": numeric()})
    model = small_model("STEMNet", fmap, embedding_regularizer=1e-3, row_sparse=row_sparse)
    twin = small_model("STEMNet", fmap, embedding_regularizer=1e-3, row_sparse=row_sparse)
    twin.load_state_dict(copy.deepcopy(model.state_dict()))
    steps(model, fmap, 3), steps(twin, fmap, 3)
    bad = batch(fmap, seed=9)
    bad["n"][0] = torch.inf
    assert not np.isfinite(model.train_step(bad).item())
    for weight, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(weight, other)
    assert steps(model, fmap, 3) == steps(twin, fmap, 3)


def test_rows_in_fixed_shapes(elsewhere):
    rows, values = torch.tensor([7, 0, 3, 7, 3, 3]), torch.randn(6, 2)
    found = []
    for on in (False, True):
        elsewhere(on)
        gradients = RowGradients()
        gradients.add(rows, values)
        found.append(gradients.take())
    (touched, sums), (padded, padded_sums) = found
    assert padded.tolist() == [0, 3, 7, 0, 0, 0]
    assert touched.tolist() == [3, 7]
    torch.testing.assert_close(padded_sums[1:3], sums)
    assert not padded_sums[[0, 3, 4, 5]].any()


@pytest.mark.parametrize("name", ALL)
def test_bf16_stays_near_fp32_and_keeps_float_weights(name):
    fmap = feature_map(MIXED)
    losses = {}
    for precision in ("fp32", "bf16"):
        model = small_model(name, fmap, precision=precision)
        losses[precision] = steps(model, fmap, 10)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())
    np.testing.assert_allclose(losses["bf16"], losses["fp32"], rtol=2e-2)
    assert losses["bf16"] != losses["fp32"]


def test_tf32_needs_a_cuda_device():
    with pytest.raises(ConfigError, match="precision: tf32 is a format of CUDA devices"):
        small_model("STEMNet", feature_map(), precision="tf32")
    with pytest.raises(ConfigError, match="precision must be fp32, tf32, bf16"):
        small_model("STEMNet", feature_map(), precision="fp16")


class Recording:
    """Stands in for CUDA's graphs: recording a step keeps its arguments, replaying takes it."""

    def __init__(self, step):
        self.step, self.optimizer, self.model = step, step.optimizer, step.model
        self.graph = None
        self.calls, self.recorded = 0, 0

    def __call__(self, columns, max_norm):
        self.calls += 1
        if self.graph is None:
            return self.step(columns, max_norm)
        self.recorded += 1
        loss = torch.zeros(())
        self.graph.replay = lambda: loss.copy_(self.step(columns, max_norm))
        return loss

    @contextmanager
    def record(self, graph):
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
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
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


def test_what_cannot_be_recorded_runs_all_the_same(graphed, monkeypatch, caplog):
    model, fmap, recording = graphed
    twin = small_model("STEMNet", fmap, embedding_regularizer=1e-3)

    def refuse(graph):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    assert steps(model, fmap, 8) == steps(twin, fmap, 8)
    assert caplog.text.count("not recorded as a CUDA graph") == 1
