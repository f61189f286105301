"""The leaderboard's tables: what stands out, and what is left out where a benchmark lacks it."""

import dataclasses
import json

import polars as pl
import pytest

from fuxictr_stem.benchmark.report.report_files import write_leaderboard
from fuxictr_stem.benchmark.score.leaderboard import build_leaderboard
from fuxictr_stem.tuning.verify_run import PREDICTIONS
from tests.support.finished_benchmarks import make_benchmark
from tests.support.made_up_trials import trials


@pytest.fixture
def finished(five_models):
    return five_models


@pytest.fixture(scope="module")
def leaderboard(five_models):
    return build_leaderboard(five_models, resamples=50)


def test_one_seed_has_no_deviation_and_no_t_test(tmp_path):
    finished = make_benchmark(tmp_path, {"SingleTask": 1.0, "MMoE": 1.2}, seeds=(7,))
    leaderboard = write_leaderboard(finished, tmp_path, resamples=20)
    score = leaderboard.scores["MMoE", "click", "AUC"]
    assert score.sd is None
    assert score.single_task.p is None
    assert score.single_task.p_holm is None
    assert score.single_task.interval is not None
    text = (tmp_path / "leaderboard.md").read_text()
    assert "Only one seed" in text
    assert "Holm p ." not in text.split("## Definitions")[0]


def test_a_single_model_has_nothing_to_differ_from(tmp_path):
    finished = make_benchmark(tmp_path, {"MMoE": 1.0})
    write_leaderboard(finished, tmp_path, resamples=2)
    text = (tmp_path / "leaderboard.md").read_text()
    assert "| click | MMoE, the only one | " in text
    assert "difference to" not in text
    assert "## Against" not in text


def test_without_groups_there_is_no_interval(tmp_path):
    finished = make_benchmark(tmp_path, {"SingleTask": 1.0, "MMoE": 1.2})
    for by_seed in finished.models.values():
        for trained in by_seed.values():
            for run in trained.runs:
                file = run.folder / PREDICTIONS
                pl.read_parquet(file).drop("group").write_parquet(file)
    leaderboard = write_leaderboard(finished, tmp_path, resamples=20)
    assert all(
        s.single_task is None or s.single_task.interval is None for s in leaderboard.scores.values()
    )
    assert "bootstrap" not in (tmp_path / "leaderboard.md").read_text()


def test_the_best_of_each_column_stands_out(finished, leaderboard, tmp_path):
    write_leaderboard(finished, tmp_path, resamples=2)
    table = (tmp_path / "leaderboard.md").read_text().split("### logloss\n")[1].split("###")[0]
    strong = [line for line in table.splitlines() if "**" in line]
    best = min(finished.names, key=lambda name: leaderboard.scores[name, "click", "logloss"].mean)
    assert any(line.startswith(f"| {best} | **") for line in strong)
    assert sum(line.count("**") for line in strong) == 2 * len(finished.labels)


def test_a_choice_at_the_edge_of_its_grid_is_said(finished, tmp_path):
    searched = {
        "PLE_toy": trials(2e-3, 1e-3, 5e-4, chosen=5e-4),
        "MMoE_toy": trials(2e-3, 1e-3, 5e-4, chosen=1e-3),
    }
    write_leaderboard(dataclasses.replace(finished, searches=searched), tmp_path, resamples=5)
    text = (tmp_path / "leaderboard.md").read_text()
    assert "- For 1 of 2 experiments the search chose the lowest or highest value" in text
    assert "| learning_rate 0.0005 | learning_rate the lowest of 3 |" in text
    assert "| learning_rate 0.001 | no |" in text
    content = json.loads((tmp_path / "leaderboard.json").read_text())
    assert content["search_edges"] == {
        "PLE_toy": {"learning_rate": "the lowest of 3"},
        "MMoE_toy": {},
    }
