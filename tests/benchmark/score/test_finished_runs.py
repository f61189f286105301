"""What a benchmark knows of its finished runs: complete models only, and each task's own samples."""

from types import SimpleNamespace

import numpy as np
import polars as pl

from fuxictr_stem.benchmark.score.finished_runs import (
    FinishedBenchmark,
    Run,
    TrainedModel,
    collect_runs,
)
from fuxictr_stem.tuning.run_spec import Outcomes, RunSpec
from fuxictr_stem.tuning.verify_run import PREDICTIONS

ROWS = {"SingleTask": ["one_like", "one_view"], "PLE": ["PLE_toy"], "STEMNet": ["STEM_toy"]}
ROW_OF = {expid: row for row, expids in ROWS.items() for expid in expids}


def spec_of(folder, expid, seed):
    return RunSpec(expid, seed, {"lr": 0.1}, {}, f"{expid}-{seed}", folder, folder / expid)


def plan_of(folder, not_searched=()):
    """A plan of three models and two seeds; searches without a finished trial have no final runs."""
    labels = {"one_like": ["like"], "one_view": ["view"]}
    runs = {expid: [spec_of(folder, expid, seed) for seed in (1, 2)] for expid in ROW_OF}
    benchmark = SimpleNamespace(
        experiments={e: {"task_labels": labels.get(e, ["like", "view"])} for e in ROW_OF},
        row=ROW_OF.get,
        seeds=[1, 2],
        settings=dict.fromkeys(ROW_OF, {"epochs": 3}),
        proposed=["STEM_toy"],
        **{"name": "small", "dataset_id": "toy", "labels": ["like", "view"], "metrics": ["AUC"]},
    )
    searches = {
        expid: SimpleNamespace(chosen=specs[:1], trials=lambda _: None)
        for expid, specs in runs.items()
    }
    final = {expid: [] if expid in not_searched else specs for expid, specs in runs.items()}
    return SimpleNamespace(
        benchmark=benchmark, searches=searches, final=lambda expid, _: final[expid]
    )


def outcomes_without(*failed):
    keys = [f"{expid}-{seed}" for expid in ROW_OF for seed in (1, 2)]
    done = {key: {"test": {"like_AUC": 0.7}} for key in keys if key not in failed}
    return Outcomes(done, dict.fromkeys(failed, "it diverged"))


def test_all_that_is_finished_is_collected(tmp_path):
    finished = collect_runs(plan_of(tmp_path), outcomes_without(), {"threads": 1})
    assert {name: sorted(by_seed) for name, by_seed in finished.models.items()} == {
        name: [1, 2] for name in ROWS
    }
    assert finished.names == ["SingleTask", "PLE", "STEMNet"]
    single = finished.models["SingleTask"][2]
    assert [run.expid for run in single.runs] == ["one_like", "one_view"]
    assert single.labels == ["like", "view"]
    run = single.run_of("view")
    assert (run.expid, run.seed, run.folder) == ("one_view", 2, tmp_path / "one_view")
    assert run.settings == {"epochs": 3, "lr": 0.1}
    assert not finished.failures
    assert (finished.single_task, finished.proposed) == ("SingleTask", ["STEMNet"])


def test_a_model_and_seed_of_which_a_run_failed_is_left_out(tmp_path):
    outcomes = outcomes_without("one_view-2", "PLE_toy-1", "PLE_toy-2")
    finished = collect_runs(plan_of(tmp_path, ["PLE_toy"]), outcomes, {})
    assert {name: list(by_seed) for name, by_seed in finished.models.items()} == {
        "SingleTask": [1],
        "STEMNet": [1, 2],
    }
    # Runs that were never started, those after a search without a finished trial, have not failed.
    assert finished.failures == {
        "one_view, seed 2, lr 0.1": "it diverged",
        "PLE_toy, seed 1, lr 0.1": "it diverged",
    }
    outcomes = outcomes_without("one_like-1", "one_like-2")
    assert collect_runs(plan_of(tmp_path), outcomes, {}).single_task is None


def test_predictions_are_of_the_samples_of_a_task(tmp_path):
    columns = {
        "like": np.array([1, 0, np.nan, 1], dtype="float32"),
        "like_pred": np.array([0.9, 0.1, 0.5, 0.6], dtype="float32"),
        "view": np.array([np.nan, 1, 0, np.nan], dtype="float32"),
        "view_pred": np.array([0.3, 0.7, 0.2, 0.4], dtype="float32"),
        "group": np.array([7, 7, 8, 9]),
    }
    pl.DataFrame(columns).write_parquet(tmp_path / PREDICTIONS)
    result = {"test": {"like_AUC": 0.7}, "valid": {"like_AUC": 0.6}}
    trained = TrainedModel([Run("toy", 1, {}, ["like", "view"], result, tmp_path)])
    view = trained.predictions("view")
    assert view.y_true.tolist() == [1, 0]
    assert view.y_pred.tolist() == columns["view_pred"][[1, 2]].tolist()
    assert view.group_id.tolist() == [7, 8]
    assert view.row.tolist() == [1, 2]
    assert trained.predictions("like").row.tolist() == [0, 1, 3]
    pl.DataFrame(columns).drop("group").write_parquet(tmp_path / PREDICTIONS)
    assert trained.predictions("like").group_id is None
    assert trained.metric("like", "AUC") == 0.7
    assert trained.metric("like", "AUC", "valid") == 0.6
    assert np.isnan(trained.metric("view", "AUC"))
    assert np.isnan(trained.metric("buy", "AUC"))
    finished = FinishedBenchmark("small", "toy", ["like"], ["AUC"], [1], {"toy": {1: trained}})
    assert finished.values("toy", "like", "AUC") == {1: 0.7}
    assert [name for name, *_ in finished.trained("like")] == ["toy"]
    assert not list(finished.trained("buy"))
