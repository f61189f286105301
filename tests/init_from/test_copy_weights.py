"""A run that starts from another run's weights: the same rows have the same scores at its first step."""

import os
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.distributed.split_model import build_split
from fuxictr_stem.experiment import open_data
from fuxictr_stem.init_from.copy_weights import InitialWeights
from fuxictr_stem.models import STEMNet
from fuxictr_stem.registry import list_models
from tests.support.crashes import Crash
from tests.support.days import Days, weights_of
from tests.support.project import toy_rows
from tests.support.ranks import on_ranks
from tests.support.small_models import SMALL

LAYERS = ("num_shared_experts", "expert_hidden_units", "gate_hidden_units", "tower_hidden_units")


def settings_of(name):
    labels = {"y0": "like", "y1": "view"}
    settings = {"model": name, **dict.fromkeys(LAYERS, None), **SMALL[name]}
    for key in ("click_label", "conversion_label"):
        if key in settings:
            settings[key] = labels[settings[key]]
    if "auxiliary_labels" in settings:
        settings["auxiliary_labels"] = ["view"]
    return settings


def rows_of(days, day, field, first_step=None):
    """The rows of a field by token, None for the unknown: of a finished run, or before one's first step."""
    encoder = RowEncoder.load(days.folder_of(day) / "encoder")
    keys, ids = encoder.keys(field)
    weights = weights_of(days.folder_of(day)) if first_step is None else first_step.weights
    table = weights["embedding_layer.tables.0.table.weight"]
    # Of two vocabularies: user, then item; each begins at its id 1.
    offset = 0 if field == "user" else encoder.unknown("user")
    places = {**dict(zip(keys.to_list(), ids.tolist(), strict=True)), None: encoder.unknown(field)}
    return {key: table[offset + place] for key, place in places.items()}


@pytest.mark.parametrize(
    "name",
    [
        "STEMNet",
        *(pytest.param(n, marks=pytest.mark.slow) for n in list_models() if n != "STEMNet"),
    ],
)
def test_the_same_data_begin_where_the_other_run_ended(name, days, first_step):
    more = {"batch_norm": True, "epochs": 1, **settings_of(name)}
    project = days(**more)
    if name == "ESMM":
        nested = [{"name": "like", "dtype": "float"}]
        nested += [{"name": "view", "dtype": "float", "parent": "like"}]
        project.dataset["label_col"] = nested
        for frames in project.days.values():
            for split, frame in frames.items():
                frames[split] = frame.with_columns(view=pl.col("view") * pl.col("like"))
    assert project.train("day1") == 0
    source = weights_of(project.folder_of("day1"))
    assert project.train("day2", "--init-from", "checkpoints/day1/day1") == 0
    assert set(first_step.weights) == set(source)
    for key, value in first_step.weights.items():
        assert torch.equal(value, source[key]), key
    valid = project.result("day1")["valid"]
    for key, value in first_step.figures.items():
        if key in valid:
            assert value == valid[key], key
    taken = project.result("day2")["init_from"]
    assert taken["tasks"] == {"matched": ["like", "view"], "new": [], "gone": []}
    assert taken["fresh"] == []
    for counts in taken["tokens"].values():
        assert counts["matched"] == counts["tokens"] > 0
        assert counts["new"] == counts["gone"] == 0


def other_day(project):
    """Tomorrow's rows: other users and items, some of them new, in another order of frequency."""
    more = toy_rows(500, 7).with_columns(
        user=pl.col("user").replace({"u3": "new_u", "u4": "other_u"}),
        item=pl.col("item").replace({"i2": "new_i"}),
    )
    today = project.days["day1"]["train"]
    project.days["day2"]["train"] = pl.concat(
        [more, today.filter((pl.col("user") == "u9") & (pl.col("item") != "i2"))]
    )


def first_weights(ranks, folder, source):
    """Begin a run of some ranks, and write its weights."""
    os.chdir(folder)
    params = load_experiment("config", "day2") | {"gpu": -1}
    cache = open_data(params)
    torch.manual_seed(params["seed"])
    model = build_split(params, cache.feature_map(params), ranks)
    initial = InitialWeights(source, folder / "none", params)
    record = initial.take_over(model, cache.folder)
    model.save_weights(str(folder / f"first-{ranks.count}"))
    return record


@pytest.mark.slow
def test_ranks_begin_with_the_weights_of_one_process(days, tmp_path, first_step):
    project = days(epochs=1)
    other_day(project)
    assert project.train("day1") == 0
    source = project.folder_of("day1")
    assert project.train("day2", "--init-from", str(source)) == 0
    for count in (2, 3):
        records = on_ranks(count, first_weights, tmp_path, source)
        assert records == [project.result("day2")["init_from"]] * count
        weights = load_file(tmp_path / f"first-{count}")
        assert weights.keys() == first_step.weights.keys()
        for name, weight in weights.items():
            assert torch.equal(weight, first_step.weights[name]), (count, name)


def test_rows_are_matched_by_raw_token(days, first_step, capfd):
    project = days(epochs=1)
    other_day(project)
    # A user who is there once has no row of its own, so that the unknown one is learnt.
    project.dataset["min_categr_count"] = 2
    today = project.days["day1"]["train"]
    once = today[:1].with_columns(user=pl.lit("once"))
    project.days["day1"]["train"] = pl.concat([today, once])
    assert project.train("day2") == 0
    fresh = rows_of(project, "day2", "user", first_step)
    assert project.train("day1") == 0
    capfd.readouterr()
    assert project.train("day2", "--init-from", "checkpoints/day1/day1") == 0
    said = capfd.readouterr().err
    counts = project.result("day2")["init_from"]["tokens"]
    assert counts["user"] == {"tokens": 20, "matched": 18, "new": 2, "gone": 2}
    assert counts["item"] == {"tokens": 15, "matched": 14, "new": 1, "gone": 1}
    assert [line.split() for line in said.splitlines() if line.strip().startswith("user ")] == [
        ["user", "20", "18", "2", "2"]
    ]
    users = rows_of(project, "day2", "user", first_step)
    before = rows_of(project, "day1", "user")
    assert users.keys() - before.keys() == {"new_u", "other_u"}
    for user, row in users.items():
        assert torch.equal(row, before.get(user, fresh[user])), user
    assert not torch.equal(users[None], fresh[None])
    encoders = {
        day: RowEncoder.load(project.folder_of(day) / "encoder") for day in ("day1", "day2")
    }
    ids = {day: dict(zip(*encoder.keys("user"), strict=True)) for day, encoder in encoders.items()}
    assert any(ids["day1"][u] != ids["day2"][u] for u in ids["day1"].keys() & ids["day2"].keys())


def test_the_same_rows_have_the_same_scores_before_the_first_step(days, first_step):
    project = days(epochs=1)
    other_day(project)
    # Of the valid rows, all values are in both vocabularies, or in neither.
    known = ~pl.col("user").is_in(["u3", "u4"]) & (pl.col("item") != "i2")
    valid = toy_rows(200, 1).filter(known)
    valid = valid.with_columns(user=pl.col("user").replace({"u5": "nobody"}))
    for day in project.days.values():
        day["valid"] = valid
    assert project.train("day1") == 0
    end = project.result("day1")["valid"]
    assert project.train("day2", "--init-from", "checkpoints/day1/day1") == 0
    for key in ("like_AUC", "view_AUC", "like_logloss", "view_logloss"):
        assert first_step.figures[key] == end[key]


@pytest.mark.slow
def test_a_new_task_starts_fresh_and_the_others_go_on(days, first_step, capfd):
    project = days(epochs=12, early_stop_patience=12, learning_rate=0.02)
    more = {"name": "buy", "dtype": "float", "preprocess": "copy_from(view)"}
    project.dataset["label_col"] = [more, *project.dataset["label_col"]]
    project.changes = {
        "day1": {"task_labels": ["like", "view"]},
        "day2": {"task_labels": ["buy", "view", "like"]},
    }
    assert project.train("day1") == 0
    end = project.result("day1")["valid"]
    assert project.train("day2", "--init-from", "checkpoints/day1/day1") == 0
    assert "tasks new (start fresh): buy" in capfd.readouterr().err
    taken = project.result("day2")["init_from"]
    assert taken["tasks"] == {"matched": ["view", "like"], "new": ["buy"], "gone": []}
    # Their gates read an expert more, so the scores are others, but no random ones.
    for label in ("like", "view"):
        assert first_step.figures[f"{label}_AUC"] > 0.5 + (end[f"{label}_AUC"] - 0.5) / 4
        assert end[f"{label}_AUC"] > 0.7
    # And back: a task that is gone.
    assert project.train("day1", "--init-from", "checkpoints/day2/day2") == 0
    assert project.result("day1")["init_from"]["tasks"]["gone"] == ["buy"]


@pytest.mark.slow
def test_yesterday_helps(days):
    """Day 2 has few rows, and every user's taste is of its own; three seeds."""
    project = days(epochs=12, early_stop_patience=12, learning_rate=0.02)
    project.days["day2"]["train"] = toy_rows(60, 5)
    auc = {"alone": [], "after": []}
    for seed in (1, 2, 3):
        project.model["seed"] = seed
        assert project.train("day1") == 0
        assert project.train("day2") == 0
        auc["alone"].append(project.result("day2")["valid"]["AUC"])
        assert project.train("day2", "--init-from", "checkpoints/day1/day1") == 0
        auc["after"].append(project.result("day2")["valid"]["AUC"])
    assert min(auc["after"]) > max(auc["alone"]) + 0.05


class Broken(Days):
    """Day 2 from day 1, whose run can crash at any step."""

    def crash(self, at):
        steps, original = 0, STEMNet.train_step

        def train_step(model, columns):
            nonlocal steps
            steps += 1
            if steps == at:
                raise Crash
            return original(model, columns)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(STEMNet, "train_step", train_step)
            with pytest.raises(Crash):
                self.train("day2", "--init-from", "checkpoints/day1/day1")


@pytest.mark.parametrize(
    "source", ["gone", *(pytest.param(n, marks=pytest.mark.slow) for n in ("there", "moved"))]
)
def test_a_stopped_run_goes_on_without_its_source(source, tmp_path, monkeypatch, root_logging):
    monkeypatch.chdir(tmp_path)
    project = Broken(tmp_path, epochs=2, state_steps=1)
    assert project.train("day1") == 0
    given = ["--init-from", "checkpoints/day1/day1"]
    assert project.train("day2", *given) == 0
    unbroken = project.result("day2"), weights_of(project.folder_of("day2"))
    project.crash(at=7)
    home = project.folder_of("day1")
    if source == "gone":
        shutil.rmtree(home)
    elif source == "moved":
        shutil.move(home, tmp_path / "elsewhere")
        given[1] = "elsewhere"
    assert project.train("day2", "--resume", *given) == 0
    result = project.result("day2")
    for key in ("valid", "evaluations", "init_from", "settings"):
        assert result[key] == unbroken[0][key], key
    weights = weights_of(project.folder_of("day2"))
    assert all(torch.equal(weights[key], unbroken[1][key]) for key in weights)
    # A finished run shows its result.
    assert project.train("day2", "--resume", *given) == 0


@pytest.mark.slow
def test_another_source_is_rejected_with_resume(tmp_path, monkeypatch, root_logging, capfd):
    monkeypatch.chdir(tmp_path)
    project = Broken(tmp_path, epochs=1, state_steps=1)
    assert project.train("day1") == 0
    project.crash(at=4)
    for more in ([], ["--init-from", "nowhere"]):
        assert project.train("day2", "--resume", *more) == 2
    project.changes["day1"] = {"seed": 5}
    assert project.train("day1") == 0
    capfd.readouterr()
    assert project.train("day2", "--resume", "--init-from", "checkpoints/day1/day1") == 2
    assert "init_from: " in capfd.readouterr().err


def test_without_a_whole_state_the_source_is_needed(tmp_path, monkeypatch, root_logging, capfd):
    monkeypatch.chdir(tmp_path)
    project = Broken(tmp_path, epochs=1, state_steps=1)
    assert project.train("day1") == 0
    project.crash(at=4)
    for state in (project.folder_of("day2") / "states").iterdir():
        (state / "weights.safetensors").write_bytes(b"")
    shutil.rmtree(project.folder_of("day1"))
    assert project.train("day2", "--resume", "--init-from", "checkpoints/day1/day1") == 2
    assert "no state of this run is intact" in capfd.readouterr().err


SEQUENCE = {
    "name": "history",
    "active": True,
    "dtype": "str",
    "type": "sequence",
    "splitter": "^",
    "max_len": 3,
    "share_embedding": "item",
}


@pytest.mark.slow
@pytest.mark.parametrize("usage", ["init", "sum", "concat"])
@pytest.mark.parametrize("frozen", [True, False])
def test_shared_tables_and_pretrained_vectors(usage, frozen, days, first_step, tmp_path):
    """And row_sparse; another day's vocabularies in another order."""
    project = days(epochs=1, row_sparse=True)
    rng = np.random.default_rng(0)
    for frames in project.days.values():
        for split, frame in frames.items():
            items = [[f"i{i}" for i in rng.integers(0, 15, 3)] for _ in range(len(frame))]
            frames[split] = frame.with_columns(history=pl.Series(["^".join(i) for i in items]))
    days_rows = project.days
    days_rows["day2"]["train"] = days_rows["day1"]["train"].reverse()[:500]
    days_rows["day2"]["valid"] = days_rows["day1"]["valid"]
    np.savez("vectors.npz", key=[f"u{i}" for i in range(25)], value=rng.normal(size=(25, 3)))
    users = {
        "name": "user",
        "active": True,
        "dtype": "str",
        "type": "categorical",
        "pretrained_emb": str(tmp_path / "vectors.npz"),
        "freeze_emb": frozen,
        "pretrain_usage": usage,
        "pretrain_dim": 3,
    }
    items = {"name": "item", "active": True, "dtype": "str", "type": "categorical"}
    project.dataset["feature_cols"] = [users, items, SEQUENCE]
    assert project.train("day1") == 0
    end = project.result("day1")["valid"]
    assert project.train("day2", "--init-from", "checkpoints/day1/day1") == 0
    for key in ("like_AUC", "view_AUC"):
        assert first_step.figures[key] == pytest.approx(end[key], abs=1e-6)
    tokens = project.result("day2")["init_from"]["tokens"]
    assert set(tokens) == ({"item"} if frozen and usage == "init" else {"user", "item"})
    assert tokens["item"]["matched"] == 15
