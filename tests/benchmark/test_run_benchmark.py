"""Benchmarks end to end: the plan, the processes, what is done twice and what is not."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml

from fuxictr_stem.benchmark.run.benchmark_config import load_benchmark
from fuxictr_stem.benchmark.run.plan import Plan, monitored
from fuxictr_stem.cli import main
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.errors import ConfigError
from tests.support.project import Project

pytestmark = pytest.mark.slow

BENCHMARK = {
    "dataset_id": "toy",
    "experiments": "*_toy",
    "single_task": "Single_toy_*",
    "proposed": "STEMNet_toy",
    "seeds": [1, 2],
    "settings": {"epochs": 1, "num_shared_experts": 1},
    "search": {"learning_rate": [0.01, 0.001]},
    "resamples": 100,
    "slices": {"labels": ["like", "view"], "quantiles": [0.3, 0.7]},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Three models on the toy data; the current folder is the project's."""
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a project whose benchmark has been run from start to end."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = make_project(folder)
        made.benchmark["settings"] = {**BENCHMARK["settings"], "prediction_columns": ["age"]}
        assert run(made, "--jobs", "2") == 0
    return folder


def make_project(folder):
    made = Project(folder)
    bottom = {**made.model, "model": "SharedBottom", "bottom_hidden_units": [8]}
    for key in ("num_shared_experts", "expert_hidden_units", "gate_hidden_units"):
        del bottom[key]
    made.experiments = {
        "STEMNet_toy": dict(made.model),
        "SharedBottom_toy": bottom,
        "Single_toy_like": {**bottom, "task_labels": ["like"]},
        "Single_toy_view": {**bottom, "task_labels": ["view"]},
    }
    made.benchmark = dict(BENCHMARK)
    return made


def write(project):
    project.write()
    folder = project.folder / "config" / "benchmark"
    folder.mkdir(exist_ok=True)
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(project.benchmark))
    return path


def load(project):
    return load_benchmark(write(project), Path("config"))


def run(project, *more):
    return main(["benchmark", "--config", str(write(project)), "--out", "out", *more])


def tables(folder=Path("out")):
    """The leaderboard's quality: what must not depend on how often the benchmark was started."""
    models = json.loads((folder / "leaderboard.json").read_text())["models"]
    return {model["model"]: model["tasks"] for model in models}


def test_the_plan_searches_first_and_trains_the_best_trial_with_the_other_seeds(project):
    plan = Plan(load(project), dict.fromkeys(project.experiments, "data"), {"torch": "1"})
    assert plan.total() == 4 * (2 + 1)
    done, seeds = {}, []
    while wanted := list(plan.wanted(done, {})):
        for spec in wanted:
            # The second trial is the better one for STEMNet, the first for the others.
            rate = spec.trial["learning_rate"]
            good = rate == 0.001 if spec.expid == "STEMNet_toy" else rate == 0.01
            done[spec.key] = {"valid": {"AUC": 0.8 if good else 0.7}}
            seeds.append(spec.seed)
    assert len(done) == plan.total()
    assert seeds == [1] * 8 + [2] * 4
    assert plan.chosen("STEMNet_toy", done).trial == {"learning_rate": 0.001}
    assert plan.chosen("SharedBottom_toy", done).trial == {"learning_rate": 0.01}


def test_a_failed_trial_counts_as_spent(project):
    plan = Plan(load(project), dict.fromkeys(project.experiments, "data"), {})
    first, second = plan.trials("STEMNet_toy")
    done, failed = {second.key: {"valid": {"AUC": 0.6}}}, {first.key: "diverged"}
    assert plan.chosen("STEMNet_toy", done).key == second.key
    assert plan.spec("STEMNet_toy", 2, second.trial) in list(plan.wanted(done, failed))


@pytest.mark.parametrize(
    "change", ["data", "version", "setting", "seed", "trial", "threads", "device"]
)
def test_a_run_has_another_key_when_anything_decisive_changes(project, change):
    data, versions = dict.fromkeys(project.experiments, "data"), {"torch": "1"}
    before = Plan(load(project), data, versions).spec("STEMNet_toy", 1, {"learning_rate": 0.1})
    seed, trial, device = 1, {"learning_rate": 0.1}, {}
    if change == "data":
        data = {**data, "STEMNet_toy": "other"}
    elif change == "version":
        versions = {"torch": "2"}
    elif change == "setting":
        project.experiments["STEMNet_toy"]["batch_size"] = 32
    elif change == "seed":
        seed = 2
    elif change == "trial":
        trial = {"learning_rate": 0.2}
    elif change == "device":
        device = {"device": "NVIDIA H100"}
    else:
        project.benchmark["threads"] = 2
    after = Plan(load(project), data, versions, **device).spec("STEMNet_toy", seed, trial)
    assert after.key != before.key


def test_other_experiments_do_not_change_a_runs_key(project):
    data = dict.fromkeys(project.experiments, "data")
    before = Plan(load(project), data, {}).spec("STEMNet_toy", 1, {})
    project.experiments["MMoE_toy"] = {**project.model, "model": "MMoE"}
    del project.experiments["MMoE_toy"]["num_shared_experts"]
    project.benchmark["seeds"] = [1, 2, 3]
    after = Plan(load(project), {**data, "MMoE_toy": "data"}, {}).spec("STEMNet_toy", 1, {})
    assert after.key == before.key


def test_settings_for_some_experiments_come_after_those_for_all(project):
    project.benchmark["experiment_settings"] = {"Shared*": {"epochs": 3}}
    found = load(project)
    assert found.settings["SharedBottom_toy"] == {"epochs": 3}
    assert found.settings["STEMNet_toy"] == {"epochs": 1, "num_shared_experts": 1}
    assert found.experiments["SharedBottom_toy"]["epochs"] == 3


def test_a_row_is_named_by_its_model_or_where_there_are_two_by_its_id(project):
    assert load(project).row("STEMNet_toy") == "STEMNet"
    assert load(project).row("Single_toy_like") == "SingleTask"
    project.experiments["Wide_toy"] = {**project.model, "embedding_dim": 8}
    assert [load(project).row(name) for name in ("STEMNet_toy", "Wide_toy")] == ["STEMNet", "Wide"]


def test_metrics_to_compare_by_change_no_early_stopping(project):
    """An experiment's default monitor follows its metrics; those of the benchmark are only added."""
    project.experiments["STEMNet_toy"]["metrics"] = ["logloss"]
    compared = load(project).experiments["STEMNet_toy"]
    alone = load_experiment(Path("config"), "STEMNet_toy")
    assert compared["metrics"] != alone["metrics"]
    assert (alone["monitor"], alone["monitor_mode"]) == ("logloss", "min")
    assert (compared["monitor"], compared["monitor_mode"]) == ("logloss", "min")


def test_a_mixed_monitor_is_weighed():
    valid = {"like_AUC": 0.8, "view_AUC": 0.6}
    assert monitored({"like_AUC": 0.25, "view_AUC": 0.75}, valid) == pytest.approx(0.65)


MISTAKES = {
    "experiments": (
        {"experiments": "Nothing_*"},
        # The message has the whole path of the folder.
        "/config', which has 5. --config-dir names another folder.",
    ),
    "unknown key": ({"seed": [1]}, "seed: is not a known key. Did you mean 'seeds'"),
    "seeds twice": ({"seeds": [1, 1]}, "Name each seed once"),
    "no model has it": ({"settings": {"num_expert": 2}}, "no experiment has a key 'num_expert'"),
    "not all have it": ({"search": {"num_layers": [1, 2]}}, "have no key 'num_layers'"),
    "grid": ({"search": {"learning_rate": 0.1}}, "Give each key a list of values"),
    "glob": ({"experiment_settings": {"PLE_*": {}}}, "no experiment here fits 'PLE_*'"),
    "of another model": (
        {"experiment_settings": {"Shared*": {"num_experts": 2}}},
        "no experiment has a key 'num_experts'",
    ),
    "own": ({"settings": {"seed": 3}}, "seed is the benchmark's own"),
    "searched metrics": (
        {"search": {"metrics": [["AUC"], ["logloss"]]}},
        "search: metrics decides how trials are compared, so it must be the same in all of them",
    ),
    "searched labels": (
        {"search": {"task_labels": [["like"], ["view"]]}},
        "search: task_labels decides how trials are compared",
    ),
    "searched for nothing": ({"search": {"verbose": [0, 1]}}, "search: verbose changes no result"),
    "too many trials": (
        {
            "search": {
                key: list(range(1, 101))
                for key in ("batch_size", "early_stop_patience", "embedding_dim", "epochs")
                + ("eval_steps", "learning_rate", "max_gradient_norm")
            }
        },
        "search: must give at most 256 trials, gives 100000000000000",
    ),
    "resamples": ({"resamples": 10**12}, "resamples: must be a whole number from 100 to 10000"),
    "value": ({"search": {"learning_rate": [-1.0]}}, "override of learning_rate): must be"),
    "value twice": ({"search": {"learning_rate": [0.1, 0.1]}}, "Name each value once"),
    "slices": ({"slices": {"labels": ["like"]}}, "slices.labels: must be"),
    "one slice label": (
        {"slices": {"labels": ["like", "like"]}},
        "slices.labels: must be a list of two different labels",
    ),
    "thresholds": (
        {"slices": {"labels": ["like", "view"], "thresholds": [1, -1]}},
        "slices.thresholds: must be [low, high]",
    ),
    "three thresholds": (
        {"slices": {"labels": ["like", "view"], "thresholds": [1, 2, 3]}},
        "slices.thresholds: must be [low, high]",
    ),
    "quantiles": (
        {"slices": {"labels": ["like", "view"], "quantiles": [0.5, 1.5]}},
        "slices.quantiles: must be [low, high], two numbers from 0 to 1, the lower one first",
    ),
    "no lift": ({"single_task": None}, "slices: show the lift over single-task models"),
    "labels": ({"labels": ["lik"]}, "no experiment trains 'lik'. Did you mean 'like'"),
    "single": ({"single_task": "SharedBottom_toy", "experiments": "STEMNet_toy"}, "not one label"),
    "proposed": ({"proposed": "Single_toy_like"}, "not among the experiments"),
    "dataset": ({"dataset_id": "other"}, "is on 'toy', not on 'other'"),
    "no task has it": ({"metrics": ["AUC", "MSE"]}, "no task that is compared has MSE"),
    "no metric": ({"metrics": "R2"}, "has none for the binary_classification tasks. Add one of"),
    "two bounds": (
        {"slices": {**BENCHMARK["slices"], "thresholds": [-1.0, 1.0]}},
        "slices: have both thresholds and quantiles",
    ),
    "merged groups": (
        {"slices": {"labels": ["like", "view"], "group": "user"}},
        "slices.group: 'user' is no meta column of the dataset",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_message_before_any_run(project, mistake, capfd):
    change, said = MISTAKES[mistake]
    project.benchmark |= change
    assert run(project) == 2
    error = capfd.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not Path("out").exists()


def test_a_column_that_no_file_has_ends_it_before_any_run(project, capfd):
    project.experiments["Single_toy_like"]["prediction_columns"] = ["age", "agee"]
    assert run(project) == 2
    error = capfd.readouterr().err
    assert "prediction_columns" in error
    assert "agee" in error
    assert not Path("out/runs").exists()


def test_a_circle_of_links_is_no_benchmark_file(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    assert main(["benchmark", "--config", "loop", "--out", "out"]) == 2
    assert "loop cannot be read: Too many levels of symbolic links" in capfd.readouterr().err


def test_a_dataset_without_a_test_split_is_refused(project):
    del project.dataset["test_data"]
    with pytest.raises(ConfigError, match="'toy' has no test_data, on which a benchmark compares"):
        load(project)


def test_a_metric_that_an_experiment_cannot_report_is_said_with_the_others(project):
    del project.dataset["group_id"]
    for settings in (project.model, *project.experiments.values()):
        settings["metrics"] = ["AUC"]
    with pytest.raises(ConfigError, match=r"small.yaml: 1 problem") as caught:
        load(project)
    (line,) = str(caught.value).splitlines()[1:]
    assert re.match("- [A-Za-z]+_toy.*, override of metrics and .*: gAUC need group_id", line)


def test_slices_that_the_data_does_not_carry_end_before_any_run(project, capfd):
    project.benchmark["slices"] = {**BENCHMARK["slices"], "min_rows": 1000}
    assert run(project) == 2
    assert "quantiles need groups that are not cold" in capfd.readouterr().err
    assert not Path("out/runs").exists()


@pytest.mark.parametrize(
    ("expid", "like", "said"),
    [
        ("Single_toy_like2", "Single_toy_like", "Single_toy_like and Single_toy_like2 both train"),
        ("SingleTask_toy", "Single_toy_like", "SingleTask_toy would be called SingleTask, as the"),
        ("STEMNet2_toy", "SharedBottom_toy", None),
        ("PLE_toy", "SharedBottom_toy", "Mine_toy and PLE_toy would both be called PLE"),
    ],
)
def test_experiments_that_would_share_a_row_are_refused(project, expid, like, said):
    project.experiments[expid] = dict(project.experiments[like])
    project.experiments["Mine_toy"] = {**project.model, "model": "PLE", "num_specific_experts": 1}
    if said is None:
        assert load(project).row(expid) == "STEMNet2"
    else:
        with pytest.raises(ConfigError, match=said):
            load(project)


def test_slices_are_not_by_regression_tasks(project):
    for settings in project.experiments.values():
        if "view" in settings.get("task_labels", ["like", "view"]):
            several = "task_labels" not in settings
            settings["task"] = ["binary_classification"] * several + ["regression"]
            settings["metrics"] = ["AUC", "MSE"]
            del settings["loss"]
    project.benchmark["metrics"] = ["AUC", "MSE"]
    with pytest.raises(ConfigError, match="slices.labels: 'view' is a regression task"):
        load(project)
    project.benchmark["slices"] = None
    assert load(project).metrics == ["AUC", "MSE"]


def test_a_search_that_changes_the_labels_by_another_key_is_refused(project):
    project.benchmark |= {
        "experiments": "STEMNet_toy",
        "single_task": None,
        "slices": None,
        "search": {"sample_weight": [None, "view"]},
    }
    with pytest.raises(ConfigError, match="has STEMNet_toy train like, not like, view"):
        load(project)


def test_resamples_that_memory_cannot_hold_end_before_any_run(project, capfd, monkeypatch):
    monkeypatch.setattr(
        "fuxictr_stem.benchmark.run_benchmark.available_bytes", lambda: 4 * 100 * 20 - 1
    )
    assert run(project) == 2
    assert "resamples: 100 of 20 test users take 8e-06 GB" in capfd.readouterr().err
    assert not Path("out/runs").exists()


def test_several_mistakes_come_at_once(project):
    project.benchmark |= {"settings": {"num_expert": 2}, "experiments": ["STEMNet_toy", "None_*"]}
    with pytest.raises(ConfigError, match=r"(?s)None_.*num_expert"):
        load(project)


def test_a_benchmark_ends_with_its_files(finished):
    out = finished / "out"
    for name in ("leaderboard.md", "leaderboard.csv", "leaderboard.json", "report.html"):
        assert (out / name).stat().st_size > 100
    assert list((out / "figures").glob("*.png"))
    # Every user and item of valid and test is one of train.
    unknown = "train: none; valid: none; test: none"
    assert f"- unknown ids: {unknown}" in (out / "leaderboard.md").read_text()
    assert f"<dt>unknown ids</dt><dd>{unknown}</dd>" in (out / "report.html").read_text()
    found = json.loads((out / "analysis.json").read_text())
    assert set(found["gates"]) == {"STEMNet"}
    # All four slices, though no user of test is cold.
    assert {len(place["slice_mean"]) for place in found["gates"]["STEMNet"]} == {4}
    assert set(found["flows"]) == {"STEMNet", "SharedBottom"}
    assert not any(found["findings"].values())
    assert set(found["slices"]["lifts"]) == {"STEMNet", "SharedBottom"}
    assert len(list((out / "runs").iterdir())) == 12
    assert not list(out.rglob("*.tmp*"))
    expected = pl.read_csv(finished / "test.csv")["age"].to_list()
    for path in out.rglob("predictions_test.parquet"):
        assert pl.read_parquet(path)["age"].to_list() == pytest.approx(expected)


def test_the_tables_hold_what_the_runs_report(finished):
    for model, tasks in tables(finished / "out").items():
        for label, metrics in tasks.items():
            expid = f"Single_toy_{label}" if model == "SingleTask" else f"{model}_toy"
            values = metrics["AUC"]["values"]
            assert set(values) == {"1", "2"}
            for seed, value in values.items():
                reported = [
                    json.loads(path.read_text())["test"][f"{label}_AUC"]
                    for path in (finished / "out/runs").glob(f"{expid}-{seed}-*/toy/*/result.json")
                ]
                assert value in reported


def test_a_second_start_trains_nothing(finished, monkeypatch):
    monkeypatch.chdir(finished)
    first = tables()
    stamps = {path: path.stat().st_mtime_ns for path in Path("out/runs").rglob("*")}
    assert run(make_project(finished)) == 0
    assert tables() == first
    assert {path: path.stat().st_mtime_ns for path in Path("out/runs").rglob("*")} == stamps


# 600 rows: a batch of 599 leaves one, which batch norm cannot normalise; found once the data is open.
FAILING = {"batch_norm": True, "batch_size": 599}


def test_a_run_that_fails_says_why_and_the_rest_goes_on(project):
    project.experiments["SharedBottom_toy"] |= FAILING
    project.benchmark |= {"search": {}, "seeds": [1]}
    assert run(project, "--jobs", "2") == 0
    written = Path("out/leaderboard.md").read_text()
    assert "SharedBottom_toy, seed 1" in written
    assert "leaves a batch of one row" in written
    assert set(tables()) == {"SingleTask", "STEMNet"}
    # Mended, the next start makes only what is missing.
    before = {path.name for path in Path("out/runs").iterdir()}
    del project.experiments["SharedBottom_toy"]["batch_norm"]
    assert run(project) == 0
    assert set(tables()) == {"SingleTask", "SharedBottom", "STEMNet"}
    assert len({path.name for path in Path("out/runs").iterdir()} - before) == 1


def test_no_run_that_ends_well_is_an_error(project, capfd):
    project.experiments = {"STEMNet_toy": {**project.model, **FAILING}}
    project.benchmark |= {"search": {}, "seeds": [1], "single_task": None, "slices": None}
    assert run(project) == 2
    error = capfd.readouterr().err
    assert "No run succeeded" in error
    assert "leaves a batch of one row" in error


@pytest.mark.parametrize("name", ["predictions_test.parquet", "model.safetensors", "result.json"])
def test_a_run_whose_file_was_cut_short_is_made_again(finished, monkeypatch, name):
    monkeypatch.chdir(finished)
    first = tables()
    path = next(Path("out/runs").glob(f"STEMNet_toy-2-*/toy/*/{name}"))
    path.write_bytes(path.read_bytes()[:-20])
    others = {
        p: p.stat().st_mtime_ns
        for p in Path("out/runs").glob("*/toy/*/result.json")
        if p.parent != path.parent
    }
    assert run(make_project(finished)) == 0
    assert tables() == first
    assert {p: p.stat().st_mtime_ns for p in others} == others


def test_killed_and_started_again_it_ends_with_the_same_table(project, finished):
    """The whole benchmark is killed with SIGKILL; no run of it goes on, and no number changes."""
    path = write(project)
    command = [
        sys.executable,
        "-m",
        "fuxictr_stem",
        "benchmark",
        "--config",
        str(path),
        "--jobs",
        "2",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [*command, "--out", "out"], stderr=subprocess.DEVNULL, env=environment
    ) as process:
        deadline = time.monotonic() + 120
        while len(list(Path("out").glob("runs/*/toy/*/result.json"))) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    done = {path: path.stat().st_mtime_ns for path in Path("out").glob("runs/*/toy/*/result.json")}
    assert 0 < len(done) < 12
    assert run(project, "--jobs", "2") == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert tables() == tables(finished / "out")


def test_two_benchmarks_do_not_share_a_folder(project, capfd):
    from filelock import FileLock

    Path("out").mkdir()
    with FileLock("out/.lock"):
        assert run(project) == 2
    assert "another benchmark is writing there" in capfd.readouterr().err
