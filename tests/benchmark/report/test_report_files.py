"""The leaderboard's files: every model, the same each time, and whole."""

import csv
import dataclasses
import json

import pytest

from fuxictr_stem.benchmark.report.report_files import write_leaderboard
from fuxictr_stem.errors import OutputError
from fuxictr_stem.tuning.trials import DONE, FAILED, Trial, Trials
from tests.support.finished_benchmarks import METRICS


@pytest.fixture
def finished(five_models):
    return five_models


def test_the_files_hold_every_model_and_are_the_same_each_time(finished, tmp_path):
    finished = dataclasses.replace(
        finished,
        searches={
            "PLE_toy": Trials(
                "PLE_toy",
                "AUC",
                "max",
                [
                    Trial(0, "a", {"lr": 0.1}, DONE, 0.7, epochs=2),
                    Trial(1, "b", {"lr": 0.2}, DONE, 0.8, epochs=2),
                    Trial(2, "c", {"lr": 9.0}, FAILED, reason="diverged"),
                ],
            )
        },
        failures={"OMoE_toy, seed 2": "The loss is nan | lower <b>it</b>\n- at once"},
    )
    for folder in ("a", "b"):
        write_leaderboard(finished, tmp_path / folder, resamples=30)
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
        elif line.startswith("| ") and not line.startswith(
            ("| task", "| model", "| run", "| experiment")
        ):
            assert line.replace("\\|", "").count("|") == columns

    with (tmp_path / "a" / "leaderboard.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9 * len(METRICS)
    content = json.loads((tmp_path / "a" / "leaderboard.json").read_text())
    assert [model["model"] for model in content["models"]] == finished.names
    assert finished.names[0] == "SingleTask"
    assert finished.names[-1] == "STEMNet"
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
    assert content["failures"] == finished.failures
    assert content["search"]["PLE_toy"][1:] == [
        {
            **{"settings": {"lr": 0.2}, "monitor": "AUC", "monitor_mode": "max"},
            **{"value": 0.8, "epochs": 2, "chosen": True},
        },
        {
            **{"settings": {"lr": 9.0}, "monitor": "AUC", "monitor_mode": "max"},
            **{"value": None, "epochs": None, "chosen": False},
        },
    ]


@pytest.mark.parametrize("name", ["leaderboard.md", "leaderboard.csv", "leaderboard.json"])
def test_a_file_that_cannot_be_written_is_told_and_the_others_stay_whole(finished, tmp_path, name):
    write_leaderboard(finished, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=name):
        write_leaderboard(finished, tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after == {other: data for other, data in before.items() if other != name}
