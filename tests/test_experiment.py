"""The command line from config to result, and every mistake of a user: one message, exit code 2."""

import json
import math
import re
import sys
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

import fuxictr_stem
from fuxictr_stem.cli import main
from fuxictr_stem.config.experiment_config import list_experiments, load_experiment
from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.errors import TrainingError
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.registry import build_model
from fuxictr_stem.training.evaluation import predict
from tests.support.project import result_of

ROOT = Path(__file__).parents[1]


def test_a_run_from_config_to_result(project):
    assert project.run() == 0
    result = result_of(project)
    assert {
        "expid",
        "dataset_id",
        "model",
        "seed",
        "params",
        "epochs",
        "valid",
        "test",
        "seconds",
        "samples_per_second",
        "peak_rss_bytes",
        "versions",
    } <= result.keys()
    assert (result["expid"], result["dataset_id"], result["model"]) == (
        "toy_test",
        "toy",
        "STEMNet",
    )
    assert set(result["params"]) == {"dense", "embedding"}
    assert set(result["seconds"]) == {"prepare", "train", "evaluate"}
    assert result["versions"]["fuxictr_stem"] == fuxictr_stem.__version__
    names = {f"{label}_{m}" for label in ("like", "view") for m in ("logloss", "AUC", "gAUC")}
    assert set(result["test"]) == names | {"logloss", "AUC", "gAUC"}
    assert result["test"]["AUC"] == pytest.approx(
        (result["test"]["like_AUC"] + result["test"]["view_AUC"]) / 2
    )
    assert result["epochs"] == len(result["evaluations"]) == 2
    assert result["stand_in"] is False
    line = (project.folder / "config.csv").read_text()
    assert re.fullmatch(
        r" \d{8}-\d{6},\[command\] python .*,\[exp_id\] toy_test,\[dataset_id\] toy,"
        r"\[train\] N\.A\.,\[val\] like_logloss: [\d.]+ - .*,\[test\] like_logloss: [\d.]+ - .*\n",
        line,
    )
    log = (project.folder / "checkpoints" / "toy" / "toy_test.log").read_text()
    assert re.search(rf"\ntest +like +{result['test']['like_logloss']:.6f} ", log)
    assert not list(project.folder.rglob("*.pkl"))


def test_the_metrics_are_those_of_the_saved_weights(project):
    """Read back the best weights, predict the test rows, and let scikit-learn judge them."""
    assert project.run() == 0
    params = load_experiment("config", "toy_test")
    cache = open_cache(params)
    model = build_model(params, cache.feature_map(params))
    model.load_weights(model.checkpoint)
    loader = H5Loader(model.feature_map, str(cache.path("test")), split="test", batch_size=37)
    y_pred = predict(model, loader).y_pred
    for label in ("like", "view"):
        y_true = project.frames["test"][label]
        expected = roc_auc_score(y_true, y_pred[label])
        assert result_of(project)["test"][f"{label}_AUC"] == pytest.approx(expected, abs=1e-9)
        # The raw users are the groups.
        by_user = pl.DataFrame(
            {"u": project.frames["test"]["user"], "y": y_true, "p": y_pred[label]}
        )
        pairs = [
            (roc_auc_score(rows["y"], rows["p"]), len(rows))
            for rows in by_user.partition_by("u")
            if rows["y"].n_unique() == 2
        ]
        expected = sum(a * n for a, n in pairs) / sum(n for _, n in pairs)
        assert result_of(project)["test"][f"{label}_gAUC"] == pytest.approx(expected, abs=1e-9)
    assert load_file(model.checkpoint).keys() == dict(model.state_dict()).keys()


def test_unknown_ids_are_in_log_and_result(project):
    """Items of valid are written as floats, as pandas does after a missing value."""
    for split, end in (("train", ""), ("valid", ".0"), ("test", "")):
        project.frames[split] = project.frames[split].with_columns(
            item=pl.col("item").str.strip_prefix("i") + end
        )
    logs = project.folder / "checkpoints" / "toy" / "toy_test.log"
    for _ in range(2):
        # Built, then from the cache.
        assert project.run() == 0
        unknown = result_of(project)["unknown"]
        assert unknown["train"] == {"user": 0.0, "item": 0.0}
        assert unknown["valid"] == {"user": 0.0, "item": 1.0}
        log = logs.read_text()
        assert "Unknown ids of valid: item 100.0 %" in log
        assert "column 'item': 100.0 % of the ids of valid are unknown, 0.0 % of train's" in log
        assert ".0', where train has '" in log


def test_the_model_learns(project):
    project.model |= {"epochs": 10, "learning_rate": 0.03}
    assert project.run() == 0
    assert result_of(project)["test"]["AUC"] > 0.8


def test_the_same_seed_gives_the_same_result_from_a_cached_run(project):
    assert project.run() == 0
    first = result_of(project)
    assert project.run() == 0
    assert result_of(project)["test"] == first["test"]
    project.model["seed"] = 5
    assert project.run() == 0
    assert result_of(project)["test"] != first["test"]
    assert len((project.folder / "config.csv").read_text().splitlines()) == 3


def test_streaming_gives_the_same_result_as_memory(project):
    assert project.run() == 0
    first = result_of(project)
    project.model["memory_budget"] = 1
    assert project.run() == 0
    assert result_of(project)["test"] == first["test"]


def test_one_task_of_the_dataset_and_its_monitor(project):
    project.model |= {"task_labels": ["view"], "monitor": "view_AUC"}
    assert project.run() == 0
    assert set(result_of(project)["test"]) >= {"view_AUC", "AUC"}
    assert not any(name.startswith("like") for name in result_of(project)["test"])


def test_early_stopping_keeps_the_best_epoch(project):
    project.model |= {"epochs": 30, "learning_rate": 0.05, "early_stop_patience": 1}
    assert project.run() == 0
    result = result_of(project)
    curve = [one["valid"]["AUC"] for one in result["evaluations"]]
    assert len(curve) < 30, "the monitor never stopped rising: the test shows nothing"
    assert result["valid"]["AUC"] == max(curve) > curve[-1]
    rates = [one["learning_rate"] for one in result["evaluations"]]
    assert rates == [0.05] * len(curve)


def test_a_monitor_of_one_task_leaves_means_over_all(project):
    project.model["monitor"] = "view_AUC"
    assert project.run() == 0
    for one in result_of(project)["evaluations"]:
        valid = one["valid"]
        assert set(valid) == {"like_AUC", "view_AUC", "AUC"}
        assert valid["AUC"] == pytest.approx((valid["like_AUC"] + valid["view_AUC"]) / 2)


def test_a_result_never_outlives_the_weights_it_is_of(project, monkeypatch):
    project.model["save_predictions"] = True
    assert project.run() == 0
    before = result_of(project)
    sound = project.frames["train"]
    project.frames["train"] = sound.with_columns(like=pl.lit(0))
    assert project.run() == 2
    # No weights were touched.
    assert result_of(project) == before

    def diverges(model, batch):
        raise TrainingError("diverged")

    project.frames["train"] = sound
    with monkeypatch.context() as patch:
        patch.setattr(MultiTaskNet, "train_step", diverges)
        assert project.run() == 2
    assert not list(project.folder.rglob("result.json"))
    assert not list(project.folder.rglob("predictions_*"))
    project.model["save_predictions"] = False
    assert project.run() == 0
    assert result_of(project)
    assert not list(project.folder.rglob("predictions_*"))


@pytest.mark.parametrize("crash", [False, True])
def test_missing_nan_has_a_result_and_can_be_resumed(project, monkeypatch, crash):
    """JSON has no NaN, and NaN is not equal to itself."""
    project.dataset["label_col"][0]["missing"] = math.nan
    project.model["state_steps"] = 1
    step, steps = MultiTaskNet.train_step, []

    def train_step(model, batch):
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return step(model, batch)

    if crash:
        with monkeypatch.context() as patch:
            patch.setattr(MultiTaskNet, "train_step", train_step)
            assert project.run() == 130
    assert project.run("--resume") == 0
    assert result_of(project)["settings"]["label_col"][0]["missing"] == "nan"
    assert project.run("--resume") == 0


def test_result_json_is_strict_json(project):
    """Fewer steps than eval_steps: the loss of the only evaluation is a number all the same."""
    project.model |= {"eval_steps": 1000, "epochs": 1}
    assert project.run() == 0
    path = project.folder / "checkpoints" / "toy" / "toy_test" / "result.json"
    strict = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert strict["evaluations"][0]["train_loss"] > 0


def test_evaluation_inside_the_epoch(project):
    project.model |= {"eval_steps": 4, "epochs": 1}
    assert project.run() == 0
    assert [one["step"] for one in result_of(project)["evaluations"]] == [4, 8]


def test_no_test_split(project):
    project.dataset["test_data"] = None
    assert project.run() == 0
    assert result_of(project)["test"] == {}


def test_regression_beside_a_binary_task(project):
    project.model |= {
        "task": ["binary_classification", "regression"],
        "loss": ["binary_crossentropy", "mse_loss"],
        "monitor": {"like_AUC": 1, "view_MSE": -0.5},
    }
    for split, frame in project.frames.items():
        project.frames[split] = frame.with_columns(view=pl.col("age") * 2.5 - 1)
    assert project.run() == 0
    assert {"like_AUC", "view_MSE", "view_MAE", "MSE"} <= result_of(project)["test"].keys()


def test_use_features_keeps_the_groups(project):
    project.model["use_features"] = ["item", "age"]
    assert project.run() == 0
    assert "like_gAUC" in result_of(project)["test"]


# What is wrong -> how to break the project, and what the message must say.
MISTAKES = {
    "unknown expid": (None, r"toy_tset.*Did you mean 'toy_test'"),
    "unknown key": (lambda p: p.model.update(learning_rat=1), r"learning_rat\b.*learning_rate"),
    "key of another model": (lambda p: p.model.update(num_experts=3), r"num_experts"),
    "missing file": (lambda p: p.dataset.update(valid_data="./no.csv"), r"no\.csv"),
    "missing column": (
        lambda p: p.frames.update(test=p.frames["test"].rename({"item": "itme"})),
        r"item.*itme",
    ),
    "label not 0 or 1": (
        lambda p: p.frames.update(valid=p.frames["valid"].with_columns(like=pl.col("like") * 3)),
        r"'like'.*valid.*3",
    ),
    "all-negative label": (
        lambda p: p.frames.update(train=p.frames["train"].with_columns(like=pl.lit(0))),
        r"'like'.*positive.*train",
    ),
    "NaN in a label": (
        lambda p: p.frames.update(
            train=p.frames["train"].with_columns(
                like=pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise(pl.col("like"))
            )
        ),
        r"'?like'?.*train.*(row|1)",
    ),
    "text where a number is declared": (
        lambda p: p.frames.update(
            train=p.frames["train"].with_columns(
                age=pl.when(pl.int_range(pl.len()) == 5)
                .then(pl.lit("old"))
                .otherwise(pl.col("age").cast(str))
            )
        ),
        r"age.*old",
    ),
    "more tasks than labels": (lambda p: p.model.update(num_tasks=3), r"num_tasks.*3.*2"),
    "more losses than tasks": (
        lambda p: p.model.update(loss=["bce", "bce", "bce"]),
        r"loss.*3.*2",
    ),
    "empty vocabulary": (
        lambda p: p.dataset.update(min_categr_count=5000),
        r"(user|item).*5,?000",
    ),
    "unwritable output folder": (
        lambda p: p.model.update(model_root="./train.csv/x"),
        r"train\.csv",
    ),
    "no CUDA": (lambda p: None, r"--gpu 7.*CUDA"),
    "unknown monitor": (lambda p: p.model.update(monitor="like_auc"), r"like_auc.*like_AUC"),
    "a number that YAML reads as text": (
        lambda p: p.model.update(learning_rate="1e-3"),
        r"1e-3.*1\.e-3",
    ),
    "a batch of one row under batch norm": (
        lambda p: p.model.update(batch_norm=True, batch_size=599),
        r"batch_size.*599.*one row",
    ),
    "no group with both classes": (
        lambda p: p.frames.update(
            test=p.frames["test"].with_columns(user=pl.int_range(pl.len()).cast(str))
        ),
        r"test.*gAUC",
    ),
    "training that diverges": (
        lambda p: p.model.update(learning_rate=1.0e30, optimizer="SGD", max_gradient_norm=1.0e30),
        r"before step \d+ .*not finite: task 'like'",
    ),
    "a device below the CPU's": (None, r"--gpu -5"),
    "dropout list of a wrong length": (
        lambda p: p.model.update(net_dropout=[0.1, 0.2, 0.3]),
        r"net_dropout.*3",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_message(project, mistake, capsys):
    break_it, message = MISTAKES[mistake]
    if break_it is not None:
        break_it(project)
    more = {"no CUDA": ["--gpu", "7"], "a device below the CPU's": ["--gpu=-5"]}.get(mistake, [])
    expid = "toy_tset" if mistake == "unknown expid" else "toy_test"
    assert project.run(*more, expid=expid) == 2
    err = capsys.readouterr().err
    told = err[err.index("error: ") :]
    assert re.search(message, told, re.DOTALL), told
    assert "Traceback" not in err
    assert not (project.folder / "config.csv").exists()
    assert not list(project.folder.rglob("result.json"))


def test_an_unwritable_log(project, capsys):
    (project.folder / "checkpoints" / "toy" / "toy_test.log").mkdir(parents=True)
    assert project.run() == 2
    assert "toy_test.log cannot be written" in capsys.readouterr().err


def test_an_unwritable_results_file(project, capsys):
    (project.folder / "config.csv").mkdir()
    assert project.run() == 2
    assert "config.csv cannot be written" in capsys.readouterr().err


def test_several_problems_in_one_message(project, capsys):
    project.model |= {"learning_rat": 1, "epochs": -1, "optimizer": "magic"}
    project.dataset["feature_cols"][1]["dtype"] = "number"
    assert project.run() == 2
    told = capsys.readouterr().err
    for word in ("learning_rat", "epochs", "magic", "number"):
        assert word in told
    assert told.count("error:") == 1


def test_numbers_declared_as_text_are_fine(project):
    project.frames = {
        split: frame.with_columns(user=pl.col("user").str.slice(1).cast(int))
        for split, frame in project.frames.items()
    }
    assert project.run() == 0


def test_every_model_is_shipped_for_every_dataset():
    """That each of these is valid: test_yaml_files."""
    wanted = {
        f"{model}_{data}"
        for model in fuxictr_stem.list_models()
        for data in ("tiktok", "qkvideo", "kuairand1k", "kuairand_pure", "test")
    }
    wanted |= {"SingleTask_tiktok_like", "SingleTask_test"}
    assert wanted <= set(list_experiments(ROOT / "config"))


def test_every_model_has_its_place_in_the_model_zoo(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    sys.modules.pop("model_zoo", None)
    import model_zoo

    assert Path(model_zoo.__file__).parent == ROOT / "model_zoo"
    assert sorted(model_zoo.__all__) == fuxictr_stem.list_models()
    for name in fuxictr_stem.list_models():
        assert getattr(model_zoo, name) is fuxictr_stem.get_model(name)


@pytest.mark.parametrize("place", ["fuxictr_stem.training.trainer.Trainer.fit", "torch.optim.Adam"])
def test_ctrl_c_ends_in_one_line(project, place, monkeypatch, capfd):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    # FuxiCTR makes another error of whatever an optimizer raises, Ctrl-C included.
    monkeypatch.setattr(place, interrupted)
    assert project.run() == 130
    error = capfd.readouterr().err
    assert error.endswith("\nStopped by Ctrl-C. The same command with --resume continues a run.\n")
    assert "Traceback" not in error


def test_list_and_version(capsys, project):
    project.write()
    assert main(["list"]) == 0
    assert "toy_test" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.strip() == fuxictr_stem.__version__
