"""The report: one page that holds everything, every picture also a file."""

import base64
import dataclasses
import io
from html.parser import HTMLParser

import pytest
from matplotlib.image import imread

from fuxictr_stem.benchmark.report.report_files import write_report
from fuxictr_stem.benchmark.score.leaderboard import build_leaderboard
from fuxictr_stem.tuning.trials import DONE, FAILED, Trial, Trials

pytestmark = pytest.mark.slow

LEADERBOARD = {
    "quality-auc",
    "quality-gauc",
    "quality-logloss",
    "transfer-auc",
    "transfer-gauc",
    "transfer-logloss",
    "cost-auc",
    "training-click-auc",
    "training-like-auc",
    "training-loss",
}
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Reads a page, and fails on a tag that is not closed in its order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.links, self.words = [], [], [], []
        self.tags, self.anchors, self.scripts = set(), [], 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.scripts += tag == "script"
        values = dict(attrs)
        self.anchors += [values["id"]] if "id" in values else []
        self.links += [values[key] for key in ("src", "href", "srcset") if key in values]
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def _report(finished, folder, analysis=None):
    leaderboard = build_leaderboard(finished, resamples=30)
    write_report(leaderboard, analysis, folder)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_holds_everything_and_the_pictures_are_files(finished, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "of-an-older-report.png").write_bytes(b"")
    page = _report(finished, tmp_path)
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    pictures = [link for link in page.links if not link.startswith("#")]
    assert all(link.startswith("data:image/png;base64,") for link in pictures)
    assert not page.tags & {"link", "iframe"}
    # Every entry of the contents leads somewhere, and no name appears twice.
    assert anchors
    assert anchors <= set(page.anchors)
    assert len(set(page.anchors)) == len(page.anchors)
    files = {path.stem: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert set(files) == LEADERBOARD
    shown = [base64.b64decode(image["src"].split(",")[1]) for image in page.images]
    assert sorted(shown) == sorted(files.values())
    assert all(len(image["alt"]) > 20 for image in page.images)
    assert all(imread(io.BytesIO(data)).std() > 0.01 for data in shown)
    text = " ".join(page.words)
    for expected in (
        "the best",
        "Transfer",
        "Cost",
        "Holm",
        "python run_benchmark.py",
        "ESMM",
        "–",
    ):
        assert expected in text


def test_names_and_reasons_are_shown_as_they_are(finished, tmp_path):
    name = 'A<b>&"$x_1$|'
    models = {**finished.models, name: finished.models["MMoE"]}
    del models["MMoE"]
    failures = {"PLE, seed 1": "ended by <script>alert(1)</script>"}
    odd = dataclasses.replace(finished, models=models, failures=failures, name="<i>odd</i>")
    page = _report(odd, tmp_path)
    assert page.scripts == 1
    assert "i" not in page.tags
    text = " ".join(page.words)
    assert name in text
    assert "PLE, seed 1" in text
    assert failures["PLE, seed 1"] in text
    assert "1 run failed" in text


def test_a_benchmark_without_single_task_baseline_or_second_seed(finished, tmp_path):
    only = {"STEMNet": {1: finished.models["STEMNet"][1]}}
    page = _report(
        dataclasses.replace(finished, models=only, single_task=None, seeds=[1]), tmp_path
    )
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert names == {name for name in LEADERBOARD if not name.startswith("transfer")}
    text = " ".join(page.words)
    assert "Against the best baseline" not in text
    assert "Only one seed" in text


def test_a_search_has_its_table_and_pictures(finished, tmp_path):
    trials = [
        Trial(0, "a", {"learning_rate": 0.1, "units": [1]}, DONE, 0.7),
        Trial(1, "b", {"learning_rate": 0.01, "units": [2]}, DONE, 0.72),
        Trial(2, "c", {"learning_rate": 0.001, "units": [3]}, FAILED),
    ]
    searches = {name: Trials(name, "AUC", "max", trials) for name in ("MMoE_toy", "STEMNet_toy")}
    searched = dataclasses.replace(finished, searches=searches)
    page = _report(searched, tmp_path)
    names = {path.stem for path in (tmp_path / "figures").iterdir()} - LEADERBOARD
    assert names == {"search-trials", "search-importance", "search-parallel"}
    assert "MMoE_toy" in " ".join(page.words)


def test_a_look_inside_has_its_pictures_and_tables(finished, analysis, tmp_path):
    page = _report(finished, tmp_path, analysis)
    names = {path.stem for path in (tmp_path / "figures").iterdir()} - LEADERBOARD
    assert names == {
        "slices-like-auc",
        *(f"gates-{model}{kind}" for model in ("stemnet", "mmoe") for kind in ("", "-slices")),
        *(f"gradient-flow-{model}" for model in ("stemnet", "mmoe", "sharedbottom")),
        "tables-stemnet",
        "tables-spectra",
    }
    assert len(page.images) == len(LEADERBOARD) + len(names)
    text = " ".join(page.words)
    for heading in ("Comparable samples", "Gates", "Gradient flow", "Embedding tables"):
        assert heading in text
    lift = analysis.slices.lifts["STEMNet"]["like"][0].lift[0]
    assert f"{lift:+.4f}".replace("0.", ".", 1) in text
    assert "a <dominates>" in text
