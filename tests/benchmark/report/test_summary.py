"""The first sentences say only what the numbers carry."""

import re

from fuxictr_stem.benchmark.report.formatting import span
from fuxictr_stem.benchmark.report.summary import summary
from fuxictr_stem.benchmark.score.leaderboard import build_leaderboard
from tests.support.finished_benchmarks import make_benchmark


def test_the_summary_says_what_the_tests_say(finished):
    leaderboard = build_leaderboard(finished, resamples=30)
    lines = summary(leaderboard)
    for label in finished.labels:
        line = next(
            line for line in lines if line.startswith(f"{label}, AUC: STEMNet has the highest")
        )
        single = leaderboard.score("STEMNet", label, "AUC").single_task
        word = "significant" if single.p_holm < 0.05 else "not significant"
        both = span(*single.seeds_and_users[:2])
        assert f"better than SingleTask, {both} over 3 seeds and test users; {word} (Holm p" in line
    worse = sum(
        leaderboard.score(name, "click", "AUC").single_task.difference < 0
        for name in ("MMoE", "ESMM", "STEMNet")
    )
    assert any(
        f"click, AUC: worse mean than SingleTask: {worse} of 3 models" in line for line in lines
    )


def test_the_summary_names_a_best_model_that_is_not_the_proposed_one(tmp_path):
    noises = {"SingleTask": 0.5, "MMoE": 1.0, "STEMNet": 2.0}
    finished = make_benchmark(tmp_path, noises, seeds=(1, 2))
    lines = summary(build_leaderboard(finished, resamples=30))
    assert any("click, AUC: SingleTask has the highest mean of 3 models" in line for line in lines)
    own = next(line for line in lines if "STEMNet is the best of the proposed models" in line)
    # The size without a sign: which way it goes is in the word.
    assert re.search(r"By \.\d{4} worse than SingleTask", own)
    assert re.search(r"By \.\d{4} worse than MMoE", own)
    assert any("click, AUC: worse mean than SingleTask: 2 of 2 models" in line for line in lines)
