"""The benchmark file: what it may say, and every mistake in one message before any run."""

import re
from pathlib import Path

import pytest

from fuxictr_stem.cli import main
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.errors import ConfigError
from tests.support.benchmark_project import BENCHMARK, load, run

pytestmark = pytest.mark.slow


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
    "glob": (
        {"experiment_settings": {"PLE_*": {}}},
        "no experiment of this benchmark matches 'PLE_*'",
    ),
    "of another model": (
        {"experiment_settings": {"Shared*": {"num_experts": 2}}},
        "no experiment has a key 'num_experts'",
    ),
    "own": ({"settings": {"seed": 3}}, "seed is set by the benchmark"),
    "searched metrics": (
        {"search": {"metrics": [["AUC"], ["logloss"]]}},
        "search.metrics: decides how trials are compared, so it must have one value in all of them",
    ),
    "searched labels": (
        {"search": {"task_labels": [["like"], ["view"]]}},
        "search.task_labels: decides how trials are compared",
    ),
    "searched for nothing": ({"search": {"verbose": [0, 1]}}, "search.verbose: changes no result"),
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
    "no task has it": (
        {"metrics": ["AUC", "MSE"]},
        "MSE does not apply to any task that is compared",
    ),
    "no metric": ({"metrics": "R2"}, "has none for the binary_classification tasks. Add one of"),
    "two bounds": (
        {"slices": {**BENCHMARK["slices"], "thresholds": [-1.0, 1.0]}},
        "slices: have both thresholds and quantiles",
    ),
    "merged groups": (
        {"slices": {"labels": ["like", "view"], "group": "user"}},
        "slices.group: 'user' is not a meta column of the dataset",
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


@pytest.mark.parametrize(
    ("expid", "like", "said"),
    [
        ("Single_toy_like2", "Single_toy_like", "Single_toy_like and Single_toy_like2 both train"),
        (
            "SingleTask_toy",
            "Single_toy_like",
            "SingleTask_toy would be called SingleTask, which is",
        ),
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


def test_several_mistakes_come_at_once(project):
    project.benchmark |= {"settings": {"num_expert": 2}, "experiments": ["STEMNet_toy", "None_*"]}
    with pytest.raises(ConfigError, match=r"(?s)None_.*num_expert"):
        load(project)
