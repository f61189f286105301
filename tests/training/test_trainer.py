"""The loop: FuxiCTR's schedule step by step, progress for people, memory of the process."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fuxictr_stem.runtime import memory
from fuxictr_stem.training import trainer
from fuxictr_stem.training.trainer import Trainer
from tests.support.plain_models import PlainSharedBottom
from tests.support.small_models import (
    Batches,
    batch,
    feature_map,
    small_model,
    spread,
)


def _loop_record(model):
    """What checkpoint_and_earlystop gets and decides, evaluation by evaluation."""
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


def plain_model(fmap, folder, **params):
    return PlainSharedBottom(fmap, 3, [7, 5], [4], model_root=str(folder), **params)


def ours(fmap, folder, **params):
    return small_model("SharedBottom", fmap, model_root=str(folder), **params)


@pytest.mark.parametrize("make", [ours, plain_model])
@pytest.mark.parametrize("best_only", [True, False])
def test_the_best_weights_are_those_of_the_best_evaluation(make, best_only, tmp_path, monkeypatch):
    """Monitored AUC .7, .9, .8, .6: the second; FuxiCTR's False keeps the fourth under that name."""
    fmap = feature_map()
    model = make(fmap, tmp_path, save_best_only=best_only, early_stop_patience=9)
    values, seen = iter([0.7, 0.9, 0.8, 0.6]), []

    def evaluate(tasks, predictions, names):
        seen.append({name: x.clone() for name, x in model.state_dict().items()})
        return {"AUC": next(values), "logloss": 1.0}

    monkeypatch.setattr(trainer, "evaluate_predictions", evaluate)
    best = Path(model.checkpoint)
    last = best.with_name(f"{best.stem}_last{best.suffix}")
    last.parent.mkdir(parents=True, exist_ok=True)
    last.write_text("of an older run")
    train = Batches(*(batch(fmap, seed=s) for s in range(3)))
    tasks = dict.fromkeys(fmap.labels, "binary_classification")
    Trainer(model, tasks).fit(train, train, epochs=4)

    def stored(path):
        return load_file(path) if path.suffix == ".safetensors" else torch.load(path)

    assert_same(model.state_dict(), seen[1])
    assert_same(stored(best), seen[1])
    assert last.exists() is not best_only
    if not best_only:
        assert_same(stored(last), seen[3])
    assert model._save_best_only is best_only


def assert_same(tensors, expected):
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, expected[name]), name


def test_fewer_steps_than_eval_steps_still_give_weights(tmp_path):
    fmap = feature_map()
    model = small_model("SharedBottom", fmap, model_root=str(tmp_path), eval_steps=1000)
    history = Trainer(model, model.tasks).fit(Batches(batch(fmap)), Batches(batch(fmap)), epochs=2)
    assert [one["step"] for one in history.evaluations] == [2]


def test_freed_memory_is_kept_on_linux_only(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False
