"""The leaderboard's numbers against numpy and scipy, and its files."""

import csv
import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from fuxictr_stem.benchmark.report.formatting import number, p_value, signed, span
from fuxictr_stem.benchmark.report.leaderboard_files import write_leaderboard
from fuxictr_stem.benchmark.run.search import at_edge
from fuxictr_stem.benchmark.run.verify_run import PREDICTIONS
from fuxictr_stem.benchmark.score.leaderboard import build_leaderboard
from fuxictr_stem.benchmark.score.significance import UserBootstrap
from fuxictr_stem.errors import OutputError
from tests.support.studies import METRICS, make_study

NOISES = {"MMoE": 1.3, "STEMNet": 0.9, "SingleTask": 1.2, "PLE": 1.0, "ESMM": 0.1}
NEAR = {"rel": 0, "abs": 1e-12}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("runs"), NOISES, lacking=[("ESMM", "like")])


@pytest.fixture(scope="module")
def leaderboard(study):
    return build_leaderboard(study, resamples=50)


def _values(study, name, label, metric):
    return [study.entries[name][seed].metric(label, metric) for seed in study.seeds]


def test_means_deviations_and_differences(study, leaderboard):
    for name in NOISES:
        for label in study.labels:
            for metric in METRICS:
                score = leaderboard.score(name, label, metric)
                if (name, label) == ("ESMM", "like"):
                    assert score is None
                    continue
                own = _values(study, name, label, metric)
                assert score.mean == pytest.approx(np.mean(own), **NEAR)
                assert score.sd == pytest.approx(np.std(own, ddof=1), **NEAR)
                for found, reference in (
                    (score.single_task, "SingleTask"),
                    (score.baseline, "PLE"),
                ):
                    if name == reference:
                        assert found is None
                        continue
                    other = _values(study, reference, label, metric)
                    assert found.reference == reference
                    expected = np.mean(own) - np.mean(other)
                    assert found.difference == pytest.approx(expected, **NEAR)
                    if reference == "SingleTask" or name == "STEMNet":
                        assert found.p == pytest.approx(ttest_rel(own, other).pvalue, rel=1e-9)
                    else:
                        assert found.p is None
                    better = expected < 0 if metric == "logloss" else expected > 0
                    assert found.is_better(metric) == better


def test_intervals_are_those_of_the_bootstrap(study, leaderboard):
    bootstrap = UserBootstrap(study, resamples=50)
    found = leaderboard.score("STEMNet", "like", "gAUC").baseline.interval
    assert found == bootstrap.interval("STEMNet", "PLE", "like", "gAUC", study.seeds)
    differences = {
        seed: study.entries["STEMNet"][seed].metric("like", "gAUC")
        - study.entries["PLE"][seed].metric("like", "gAUC")
        for seed in study.seeds
    }
    both = bootstrap.seeds_and_users("STEMNet", "PLE", "like", "gAUC", differences)
    assert leaderboard.score("STEMNet", "like", "gAUC").baseline.seeds_and_users == both
    assert (both.low + both.high) / 2 == pytest.approx(np.mean(list(differences.values())))
    assert found.low < leaderboard.score("STEMNet", "like", "gAUC").baseline.difference < found.high


def test_the_best_baseline_has_all_tasks_and_is_no_proposed_model(study, leaderboard):
    # ESMM has the better AUC on its one task, STEMNet on both.
    assert leaderboard.best_baseline == "PLE"
    assert (
        leaderboard.score("ESMM", "click", "AUC").mean
        > leaderboard.score("PLE", "click", "AUC").mean
    )
    by_loss = dataclasses.replace(study, metrics=["logloss", "AUC"])
    assert build_leaderboard(by_loss, resamples=2).best_baseline == "PLE"
    only = {name: study.entries[name] for name in ("SingleTask", "STEMNet")}
    without = build_leaderboard(dataclasses.replace(study, entries=only), resamples=2)
    assert without.best_baseline is None
    assert all(score.baseline is None for _, _, _, score in without.each())


def test_costs_of_several_runs_are_sums_and_memory_is_the_largest(study, leaderboard):
    runs = study.entries["SingleTask"][1].runs
    cost = leaderboard.costs["SingleTask"]
    assert len(runs) == cost.runs == 2
    assert cost.dense == sum(run.result["params"]["dense"] for run in runs)
    assert cost.embedding == sum(run.result["params"]["embedding"] for run in runs)
    seconds = [
        sum(run.result["seconds"]["train"] / run.result["epochs"] for run in entry.runs)
        for entry in study.entries["SingleTask"].values()
    ]
    assert max(seconds) > min(seconds)
    assert cost.seconds_per_epoch == pytest.approx(min(seconds))
    assert cost.samples_per_second == pytest.approx(runs[0].result["samples_per_second"] / 2)
    assert cost.peak_mib == runs[0].result["peak_rss_bytes"] / 2**20


def test_a_seed_that_a_model_lacks_is_left_out_of_its_comparisons(study):
    entries = {**study.entries, "MMoE": {s: e for s, e in study.entries["MMoE"].items() if s != 2}}
    found = build_leaderboard(dataclasses.replace(study, entries=entries), resamples=10)
    score = found.score("MMoE", "click", "AUC")
    pairs = [(e.metric("click", "AUC"), s) for s, e in entries["MMoE"].items()]
    single = study.values("SingleTask", "click", "AUC")
    assert score.single_task.seeds == 2
    expected = np.mean([value - single[seed] for value, seed in pairs])
    assert score.single_task.difference == pytest.approx(expected, **NEAR)


def test_models_tested_on_other_samples_are_not_compared(tmp_path):
    study = make_study(tmp_path, {"SingleTask": 1.0, "MMoE": 1.0, "PLE": 1.1})
    file = study.entries["MMoE"][3].run_of("like").folder / PREDICTIONS
    pl.read_parquet(file).reverse().write_parquet(file)
    found = build_leaderboard(study, resamples=10)
    assert found.score("MMoE", "like", "AUC").single_task is None
    assert found.score("PLE", "like", "AUC").single_task is not None
    assert any("MMoE and SingleTask are not compared on like" in note for note in found.notes)


def test_one_seed_has_no_deviation_and_no_t_test(tmp_path):
    study = make_study(tmp_path, {"SingleTask": 1.0, "MMoE": 1.2}, seeds=(7,))
    leaderboard = write_leaderboard(study, tmp_path, resamples=20)
    score = leaderboard.score("MMoE", "click", "AUC")
    assert score.sd is None
    assert score.single_task.p is None
    assert score.single_task.p_holm is None
    assert score.single_task.interval is not None
    text = (tmp_path / "leaderboard.md").read_text()
    assert "One seed only" in text
    assert "Holm p ." not in text.split("## Definitions")[0]


def test_a_single_model_has_nothing_to_differ_from(tmp_path):
    study = make_study(tmp_path, {"MMoE": 1.0})
    write_leaderboard(study, tmp_path, resamples=2)
    text = (tmp_path / "leaderboard.md").read_text()
    assert "click, AUC: MMoE is the only model, " in text
    assert "difference to" not in text
    assert "## Against" not in text


def test_without_groups_there_is_no_interval(tmp_path):
    study = make_study(tmp_path, {"SingleTask": 1.0, "MMoE": 1.2})
    for by_seed in study.entries.values():
        for entry in by_seed.values():
            for run in entry.runs:
                file = run.folder / PREDICTIONS
                pl.read_parquet(file).drop("group").write_parquet(file)
    leaderboard = write_leaderboard(study, tmp_path, resamples=20)
    assert all(
        s.single_task is None or s.single_task.interval is None for *_, s in leaderboard.each()
    )
    assert "bootstrap" not in (tmp_path / "leaderboard.md").read_text()


def test_the_files_hold_every_model_and_are_the_same_each_time(study, tmp_path):
    study = dataclasses.replace(
        study,
        trials={
            "PLE_toy": [
                {
                    "settings": {"lr": 0.1},
                    "monitor": "AUC",
                    "value": 0.7,
                    "epochs": 2,
                    "chosen": False,
                },
                {
                    "settings": {"lr": 0.2},
                    "monitor": "AUC",
                    "value": 0.8,
                    "epochs": 2,
                    "chosen": True,
                },
                {
                    "settings": {"lr": 9.0},
                    "monitor": "AUC",
                    "value": None,
                    "epochs": None,
                    "chosen": False,
                },
            ]
        },
        failures={"OMoE_toy, seed 2": "The loss is nan | lower <b>it</b>\n- at once"},
    )
    for folder in ("a", "b"):
        write_leaderboard(study, tmp_path / folder, resamples=30)
    names = ["leaderboard.csv", "leaderboard.json", "leaderboard.md"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    text = (tmp_path / "a" / "leaderboard.md").read_text()
    esmm = next(line for line in text.splitlines() if line.startswith("| ESMM"))
    assert esmm.split(" | ")[2] == "–"
    assert "| OMoE_toy, seed 2 | The loss is nan \\| lower \\<b>it\\</b> - at once |" in text
    assert "| PLE_toy | 2 of 3 | AUC | .7000 to .8000 | .8000 | lr 0.2 | no |" in text
    assert "python run_benchmark.py --config small.yaml" in text
    for line in text.splitlines():
        if line.startswith("|---"):
            columns = line.count("|")
        elif line.startswith("| ") and not line.startswith(("| model", "| run", "| experiment")):
            assert line.replace("\\|", "").count("|") == columns

    with (tmp_path / "a" / "leaderboard.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9 * len(METRICS)
    content = json.loads((tmp_path / "a" / "leaderboard.json").read_text())
    assert [model["model"] for model in content["models"]] == study.names
    assert study.names[0] == "SingleTask"
    assert study.names[-1] == "STEMNet"
    for line in lines:
        model = next(m for m in content["models"] if m["model"] == line["model"])
        score = model["tasks"][line["task"]][line["metric"]]
        assert float(line["mean"]) == score["mean"]
        if score["baseline"]:
            tested = line["metric"] == "AUC" and line["model"] == "STEMNet"
            assert (line["baseline_p_holm"] != "") == tested
            if tested:
                assert float(line["baseline_p_holm"]) == score["baseline"]["p_holm"]
            both = score["baseline"]["seeds_and_users"]
            assert float(line["baseline_seeds_and_users_high"]) == both["high"]
            assert float(line["baseline_low"]) == score["baseline"]["interval"]["low"]
        else:
            assert line["baseline_difference"] == ""
    assert content["failures"] == study.failures


@pytest.mark.parametrize("name", ["leaderboard.md", "leaderboard.csv", "leaderboard.json"])
def test_a_file_that_cannot_be_written_is_told_and_the_others_stay_whole(study, tmp_path, name):
    write_leaderboard(study, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=name):
        write_leaderboard(study, tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after == {other: data for other, data in before.items() if other != name}


def test_the_best_of_each_column_stands_out(study, leaderboard, tmp_path):
    write_leaderboard(study, tmp_path, resamples=2)
    table = (tmp_path / "leaderboard.md").read_text().split("### logloss\n")[1].split("###")[0]
    strong = [line for line in table.splitlines() if "**" in line]
    best = min(study.names, key=lambda name: leaderboard.score(name, "click", "logloss").mean)
    assert any(line.startswith(f"| {best} | **") for line in strong)
    assert sum(line.count("**") for line in strong) == 2 * len(study.labels)


def test_numbers_as_they_are_written():
    assert [number(v) for v in (0.75724, -0.00126, 0.0, 1.5, 12345.678, 10.0)] == [
        ".7572",
        "-.0013",
        ".0000",
        "1.5000",
        "12346",
        "10",
    ]
    assert [signed(v) for v in (0.0012, -0.0003, 0.0)] == ["+.0012", "-.0003", ".0000"]
    assert [p_value(p) for p in (0.0123, 0.0004, 0.0005, 1.0)] == [
        ".012",
        "< .001",
        ".001",
        "1.000",
    ]


def test_what_is_not_zero_is_not_written_as_zero():
    assert span(-0.00031, -0.00002) == "[-.0003, -.00002]"
    assert span(-0.00003, 0.0013) == "[-.00003, +.0013]"
    assert span(0.0, 0.00004999) == "[.0000, +.00005]"
    assert span(-0.00005, 3e-12) == "[-.0001, +3e-12]"
    # A p value shows on which side of .05 it is.
    assert [p_value(p) for p in (0.0496, 0.05, 0.05004)] == [".0496", ".050", ".05004"]


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_a_written_interval_holds_zero_as_the_interval_does(low, high):
    low, high = sorted((low, high))
    ends = [float(end) for end in span(low, high)[1:-1].split(", ")]
    assert [np.sign(end) for end in ends] == [np.sign(low), np.sign(high)]


def trials(*rates, chosen, key="learning_rate"):
    return [
        {"settings": {key: rate}, "monitor": "AUC", "value": 0.7, "chosen": rate == chosen}
        for rate in rates
    ]


@pytest.mark.parametrize(
    ("searched", "edge"),
    [
        (trials(2e-3, 1e-3, 5e-4, chosen=5e-4), {"learning_rate": "the lowest of 3"}),
        (trials(2e-3, 1e-3, 5e-4, chosen=2e-3), {"learning_rate": "the highest of 3"}),
        (trials(2e-3, 1e-3, 5e-4, chosen=1e-3), {}),
        (trials(16, 8, chosen=8, key="embedding_dim"), {"embedding_dim": "the lowest of 2"}),
        (trials("adam", "sgd", chosen="sgd"), {}),
        (trials(True, False, chosen=True), {}),
        # No penalty is the lowest that there is, and was tried.
        (trials(None, 1e-6, 1e-5, chosen=None), {}),
        (trials(None, 1e-6, 1e-5, chosen=1e-6), {}),
        (trials(None, 1e-6, 1e-5, chosen=1e-5), {"learning_rate": "the highest of 3"}),
        (trials(0, 0.5, chosen=0, key="net_dropout"), {}),
        (trials(1e-3, chosen=1e-3), {}),
        (trials(2e-3, 1e-3, chosen=None), {}),
    ],
)
def test_a_choice_at_the_edge_of_its_grid_is_known(searched, edge):
    assert at_edge(searched) == edge


def test_a_choice_at_the_edge_of_its_grid_is_said(study, tmp_path):
    searched = {
        "PLE_toy": trials(2e-3, 1e-3, 5e-4, chosen=5e-4),
        "MMoE_toy": trials(2e-3, 1e-3, 5e-4, chosen=1e-3),
    }
    write_leaderboard(dataclasses.replace(study, trials=searched), tmp_path, resamples=5)
    text = (tmp_path / "leaderboard.md").read_text()
    assert "- For 1 of 2 experiments the search chose the lowest or highest value" in text
    assert "| learning_rate 0.0005 | learning_rate the lowest of 3 |" in text
    assert "| learning_rate 0.001 | no |" in text
    content = json.loads((tmp_path / "leaderboard.json").read_text())
    assert content["search_edges"] == {
        "PLE_toy": {"learning_rate": "the lowest of 3"},
        "MMoE_toy": {},
    }
