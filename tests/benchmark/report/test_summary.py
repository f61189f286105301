"""The first screen says only what the numbers carry."""

import dataclasses

from fuxictr_stem.benchmark.report.formatting import LACKING, mean_and_sd, span
from fuxictr_stem.benchmark.report.summary import remarks, verdicts
from fuxictr_stem.benchmark.score.leaderboard import build_leaderboard
from tests.support.finished_benchmarks import make_benchmark


def rows_of(leaderboard):
    table = verdicts(leaderboard)
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def test_the_first_screen_says_what_the_tests_say(finished):
    leaderboard = build_leaderboard(finished, resamples=30)
    rows = rows_of(leaderboard)
    assert [row["task"] for row in rows] == finished.labels
    for row, label in zip(rows, finished.labels, strict=True):
        assert row["model"] == "STEMNet, the best"
        score = leaderboard.scores["STEMNet", label, "AUC"]
        assert row["AUC"] == mean_and_sd(score)
        single, both = score.single_task, score.single_task.seeds_and_users
        said = "really better" if single.p_holm < 0.05 else "may be chance"
        assert f"{span(both.low, both.high)}, {said} (Holm p" in row["against SingleTask"]
    worse = sum(
        leaderboard.scores[name, "click", "AUC"].single_task.difference < 0
        for name in ("MMoE", "ESMM", "STEMNet")
    )
    expected = f"click, AUC: worse mean than SingleTask: {worse} of 3 models"
    assert any(expected in line for line in remarks(leaderboard))


def test_a_best_model_that_is_not_the_proposed_one(tmp_path):
    noises = {"SingleTask": 0.5, "MMoE": 1.0, "STEMNet": 2.0}
    leaderboard = build_leaderboard(make_benchmark(tmp_path, noises, seeds=(1, 2)), resamples=30)
    best, proposed, *_ = rows_of(leaderboard)
    assert best["model"] == "SingleTask, the best"
    # It is not compared with itself, and baselines are not tested against the best of them.
    assert best["against SingleTask"] == best["against MMoE, the best baseline"] == LACKING
    assert proposed["model"] == "STEMNet, the best proposed"
    assert proposed["against SingleTask"].startswith("-.")
    assert proposed["against MMoE, the best baseline"].startswith("-.")
    assert "better" not in proposed["against SingleTask"]
    said = [*remarks(leaderboard)]
    assert any("click, AUC: worse mean than SingleTask: 2 of 2 models" in line for line in said)


def test_cost_is_a_multiple_of_the_cheapest(finished):
    leaderboard = build_leaderboard(finished, resamples=30)
    times = {name: cost.seconds_per_epoch for name, cost in leaderboard.costs.items()}
    cheapest = min(times, key=times.get)
    (cost,) = {row["cost"] for row in rows_of(leaderboard)}
    assert f"{times['STEMNet'] / times[cheapest]:.1f} times {cheapest}" in cost


def test_without_single_task_there_is_no_column_for_it(finished):
    alone = dataclasses.replace(
        finished, models={"MMoE": finished.models["MMoE"]}, single_task=None
    )
    table = verdicts(build_leaderboard(alone, resamples=30))
    assert not [name for name in table.header if "single" in name.lower()]
