"""The loop: FuxiCTR's schedule step by step, progress for people, memory of the process."""

import logging
import math

import pytest
from helpers import Batches, batch, feature_map, small_model, spread
from plain import PlainSharedBottom

from fuxictr_stem import progress as progress_module
from fuxictr_stem.errors import TrainingError
from fuxictr_stem.progress import Progress
from fuxictr_stem.training import Trainer, keep_freed_memory


def _loop_record(model):
    """What checkpoint_and_earlystop is told and decides, evaluation by evaluation."""
    record = []
    decide = model.checkpoint_and_earlystop

    def recorded(logs, **more):
        decide(logs, **more)
        rate = model.optimizer.param_groups[0]["lr"]
        record.append((logs["AUC"], model._stopping_steps, rate))

    model.checkpoint_and_earlystop = recorded
    return record


@pytest.mark.parametrize(
    "params",
    [
        {"early_stop_patience": 2},
        {"early_stop_patience": 1, "eval_steps": 3},
        {"early_stop_patience": 3, "monitor_mode": "min", "reduce_lr_on_plateau": False},
    ],
)
def test_the_schedule_is_fuxictrs(params, tmp_path):
    """Same evaluations, stops and learning rates as FuxiCTR's fit with FuxiCTR's metrics."""
    fmap = feature_map()
    train = Batches(*(batch(fmap, size=32, seed=s) for s in range(5)))
    valid = Batches(batch(fmap, size=64, seed=9))
    records = []
    for loop in ("fuxictr", "ours"):
        root = tmp_path / loop
        (root / "toy").mkdir(parents=True)
        model = PlainSharedBottom(
            fmap, 3, [7, 5], [4], learning_rate=0.05, model_root=root, **params
        )
        spread(model)
        records.append(_loop_record(model))
        if loop == "fuxictr":
            model.fit(train, epochs=12, validation_data=valid)
        else:
            tasks = dict.fromkeys(fmap.labels, "binary_classification")
            Trainer(model, tasks).fit(train, valid, epochs=12)
    assert len(records[0]) == len(records[1])
    for fuxictr, ours in zip(*records, strict=True):
        assert ours == pytest.approx(fuxictr)
    assert 1 < len(records[0]) < 12 * 5
    assert any(stopping for _, stopping, _ in records[0])


def test_a_model_that_is_not_ours_trains_too(tmp_path):
    fmap = feature_map()
    model = PlainSharedBottom(
        fmap, 3, [7, 5], [4], model_root=str(tmp_path), monitor="y1_AUC", learning_rate=0.03
    )
    train = Batches(*(batch(fmap, size=64, seed=s) for s in range(4)))
    tasks = dict.fromkeys(fmap.labels, "binary_classification")
    history = Trainer(model, tasks).fit(train, train, epochs=6)
    curve = [one["valid"]["y1_AUC"] for one in history.evaluations]
    assert max(curve) > curve[0]
    assert model._best_metric == max(curve)
    assert history.samples == history.epochs * 256
    assert history.samples_per_second > 0


def test_a_loss_that_is_not_finite_stops_with_its_place(tmp_path):
    fmap = feature_map()
    model = small_model("SharedBottom", fmap, model_root=str(tmp_path), task="regression")
    good, bad = batch(fmap), batch(fmap)
    bad["y1"][3] = math.inf
    with pytest.raises(TrainingError, match="inf at step 2 .epoch 1, batch 2."):
        Trainer(model, model.tasks).fit(Batches(good, bad), Batches(good), epochs=1)


def test_fewer_steps_than_eval_steps_still_give_weights(tmp_path):
    fmap = feature_map()
    model = small_model("SharedBottom", fmap, model_root=str(tmp_path), eval_steps=1000)
    history = Trainer(model, model.tasks).fit(Batches(batch(fmap)), Batches(batch(fmap)), epochs=2)
    assert [one["step"] for one in history.evaluations] == [2]


def test_progress_in_plain_lines(caplog, monkeypatch):
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO), Progress("Epoch 1", 400) as progress:
        for _ in range(4):
            progress.update(100, loss=0.5)
    lines = [r.getMessage() for r in caplog.records]
    assert lines, "nothing was shown"
    assert "Epoch 1: 50% of 400 samples" in lines[0]
    assert "left" in lines[0]
    assert "samples/s" in lines[0]
    assert "loss 0.5000" in lines[0]


def test_tracking_hands_on_the_blocks():
    blocks = [[1, 2], [3], []]
    assert list(progress_module.track(iter(blocks), "Reading")) == blocks


def test_progress_in_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(progress_module.sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("Epoch 1", 400) as progress:
        progress.update(400, loss=0.25)
        shown = str(progress._bar)
    assert "Epoch 1: 100%" in shown
    assert "loss=0.2500" in shown


def test_no_progress_when_switched_off(caplog, capsys):
    with caplog.at_level(logging.INFO), Progress("Epoch 1", 400, enabled=False) as progress:
        progress.update(400)
    assert not caplog.records
    assert capsys.readouterr().err == ""


def test_freed_memory_is_kept_on_linux_only(monkeypatch):
    from fuxictr_stem.training import allocator

    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert keep_freed_memory() is False
