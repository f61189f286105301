"""The page of a tuner names the best trial, the front, the failures and what else a reader must know."""

import re
from types import SimpleNamespace

import pytest

from fuxictr_stem.benchmark.report import tuner_page
from fuxictr_stem.tuning.run_tuner import FinishedTuner
from fuxictr_stem.tuning.space import TPE, Choices, Search
from fuxictr_stem.tuning.trials import DONE, FAILED, PRUNED, Trial, Trials

MODES = {"like_AUC": "max", "view_logloss": "min"}
SPACE = {"rate": Choices([0.1, 0.2, 0.25, 0.3]), "units": Choices([[8], [8, 4]])}


def objectives(like, view):
    return {"like_AUC": like, "view_logloss": view}


TRIALS = [
    Trial(0, "toy_001", {"rate": 0.2, "units": [8]}, DONE, 0.7, objectives(0.7, 0.5)),
    Trial(1, "toy_002", {"rate": 0.3, "units": [8, 4]}, DONE, 0.712345, objectives(0.72, 0.4)),
    Trial(2, "toy_003", {"rate": 0.25, "units": [8]}, FAILED, reason="<b>it</b> diverged & ended"),
    Trial(3, "toy_004", {"rate": 0.1, "units": [8]}, PRUNED, 0.5),
]


@pytest.fixture
def text(tmp_path, monkeypatch):
    """What writes a page without its pictures and returns it as lines of text."""
    monkeypatch.setattr(tuner_page, "search_pictures", lambda _: [])
    monkeypatch.setattr(tuner_page, "front_pictures", lambda *_: [])

    def written(modes=MODES, trials=TRIALS):
        search = Search(SPACE, TPE, trials=9)
        names = {"base_expid": "toy_base", "dataset_id": "toy"}
        tuner = SimpleNamespace(folder=tmp_path, search=search, modes=modes, **names)
        of_search = Trials("toy_base", {"like_AUC": 1.0, "view_logloss": -1.0}, "max", trials)
        best = of_search.ranked()[0]
        tuner_page.write_tuner_page(
            FinishedTuner(tuner, of_search, 9, best, "toy_best", front=[best])
        )
        page = (tmp_path / "report.html").read_text()
        body = page.split("</style>")[-1]
        assert "<b>it" not in body
        return re.sub(r"\s*\n\s*", "\n", re.sub(r"<[^>]*>", "\n", body))

    return written


def test_what_a_reader_must_know_is_said(text):
    page = text()
    for words in (
        "4 of 9 trials: 2 done, 1 pruned, 1 failed.",
        "Best monitor: .712345 of toy_002, with rate 0.3, units 8, 4. As an experiment id: toy_best.",
        "The experiment's own settings have .700000.",
        "On the Pareto front of like_AUC, view_logloss: toy_002.",
        "The best is at an end of what was tried (rate the highest of 4): a better one may lie beyond.",
        "toy_base on toy",
        "Test was not used to choose.",
    ):
        assert words in page.replace("&#39;", "'"), words
    assert "&lt;b&gt;it&lt;/b&gt; diverged &amp; ended" in page


def test_trials_come_with_the_best_first_and_their_objectives(text, tmp_path):
    every = text().split("The best first.")[1]
    places = [every.index(name) for name in ("toy_002", "toy_001", "toy_004", "toy_003")]
    assert places == sorted(places)
    header = ["trial", "state", "monitor", "like_AUC", "view_logloss", "rate", "units"]
    best = ["toy_002", "done, front", ".712345", ".720000", ".400000", "0.3", "8, 4"]
    failed = ["toy_003", "failed", "–", "–", "–", "0.25", "8"]
    for row in (header, best, failed):
        assert "\n".join(row) in every
    # The best stands out in both tables.
    strong = re.findall(r"<strong>([^<]*)", (tmp_path / "report.html").read_text())
    assert strong == [".712345", ".720000", ".400000"] * 2


def test_a_single_objective_has_no_front(text):
    page = text(modes={}, trials=TRIALS[:2])
    assert "front" not in page
    assert "like_AUC\nview_logloss" not in page
    assert "Failures" not in page
