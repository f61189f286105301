"""The report: one whole page, every picture a file, and only sentences that the numbers carry."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from fuxictr_stem.analysis.gates import gate_weights
from fuxictr_stem.analysis.gradient_flow import gradient_flow
from fuxictr_stem.analysis.slice_metrics import slice_lift, slice_metrics
from fuxictr_stem.analysis.table_similarity import compare_tables
from fuxictr_stem.benchmark.report.figures.analysis_figures import analysis_pictures
from fuxictr_stem.benchmark.report.figures.score_figures import leaderboard_pictures
from fuxictr_stem.benchmark.report.figures.style import SHADE, wrapped
from fuxictr_stem.benchmark.report.formatting import span
from fuxictr_stem.benchmark.report.html_report import write_report
from fuxictr_stem.benchmark.report.summary import summary
from fuxictr_stem.benchmark.score.leaderboard import build_leaderboard
from fuxictr_stem.benchmark.score.model_analysis import Analysis
from fuxictr_stem.benchmark.score.slice_scores import Slices
from tests.support.small_models import batch, feature_map, small_model
from tests.support.studies import make_study

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
        self.tags = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        self.links += [values[key] for key in ("src", "href", "srcset") if key in values]
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def _report(study, folder, analysis=None):
    leaderboard = build_leaderboard(study, resamples=30)
    write_report(study, leaderboard, analysis, folder)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    noises = {"SingleTask": 1.2, "MMoE": 1.3, "ESMM": 1.1, "STEMNet": 0.9}
    return make_study(tmp_path_factory.mktemp("runs"), noises, lacking=[("ESMM", "like")])


def test_the_page_holds_everything_and_the_pictures_are_files(study, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "of-an-older-report.png").write_bytes(b"")
    page = _report(study, tmp_path)
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not page.tags & {"script", "link", "iframe"}
    files = {path.stem: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert set(files) == LEADERBOARD
    shown = [base64.b64decode(image["src"].split(",")[1]) for image in page.images]
    assert sorted(shown) == sorted(files.values())
    assert all(len(image["alt"]) > 20 for image in page.images)
    assert all(imread(io.BytesIO(data)).std() > 0.01 for data in shown)
    text = " ".join(page.words)
    for expected in (
        "In short",
        "Transfer",
        "Cost",
        "Holm",
        "python run_benchmark.py",
        "ESMM",
        "–",
    ):
        assert expected in text


def test_names_and_reasons_are_shown_as_they_are(study, tmp_path):
    name = 'A<b>&"$x_1$|'
    entries = {**study.entries, name: study.entries["MMoE"]}
    del entries["MMoE"]
    failures = {"PLE, seed 1": "ended by <script>alert(1)</script>"}
    odd = dataclasses.replace(study, entries=entries, failures=failures, name="<i>odd</i>")
    page = _report(odd, tmp_path)
    assert "script" not in page.tags
    assert "i" not in page.tags
    text = " ".join(page.words)
    assert name in text
    assert "PLE, seed 1" in text
    assert failures["PLE, seed 1"] in text
    assert "1 run failed" in text


def test_a_study_without_single_task_baseline_or_second_seed(study, tmp_path):
    only = {"STEMNet": {1: study.entries["STEMNet"][1]}}
    page = _report(dataclasses.replace(study, entries=only, single_task=None, seeds=[1]), tmp_path)
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert names == {name for name in LEADERBOARD if not name.startswith("transfer")}
    text = " ".join(page.words)
    assert "Against the best baseline" not in text
    assert "One seed only" in text


def test_the_summary_says_what_the_tests_say(study):
    leaderboard = build_leaderboard(study, resamples=30)
    lines = summary(study, leaderboard)
    for label in study.labels:
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
    study = make_study(tmp_path, noises, seeds=(1, 2))
    lines = summary(study, build_leaderboard(study, resamples=30))
    assert any("click, AUC: SingleTask has the highest mean of 3 models" in line for line in lines)
    own = next(line for line in lines if "STEMNet is the best of the proposed models" in line)
    # The size without a sign: which way it goes is in the word.
    assert re.search(r"By \.\d{4} worse than SingleTask", own)
    assert re.search(r"By \.\d{4} worse than MMoE", own)
    assert any("click, AUC: worse mean than SingleTask: 2 of 2 models" in line for line in lines)


@pytest.fixture(scope="module")
def analysis(study):
    fmap = feature_map(labels=2)
    columns = [batch(fmap, size=32, seed=seed) for seed in range(2)]
    found = Analysis()
    for place, name in enumerate(("STEMNet", "MMoE", "SharedBottom")):
        found.runs[name] = (f"{name}_toy", 7 + place)
    for name in ("STEMNet", "MMoE", "SharedBottom"):
        model = small_model(name, fmap, task_labels=fmap.labels)
        found.gates[name] = gate_weights(model, columns, np.arange(64) % 3)
        found.flows[name] = gradient_flow(model, columns[0])
        found.tables[name] = compare_tables(model)
        found.findings[name] = []
    slices = Slices(["a <dominates>", "comparable", "cold"], "By user.", "SingleTask")
    for name in ("SingleTask", "MMoE", "STEMNet"):
        own = [entry.predictions("like") for entry in study.entries[name].values()]
        single = [entry.predictions("like") for entry in study.entries["SingleTask"].values()]
        # Nobody is cold.
        of_sample = own[0].group_id % 2
        args = own[0].y_true, own[0].group_id, of_sample
        slices.metrics[name] = {
            "like": [slice_metrics(args[0], p.y_pred, args[1], of_sample, 3) for p in own]
        }
        if name != "SingleTask":
            ours, theirs = [p.y_pred for p in own], [p.y_pred for p in single]
            lift = slice_lift(args[0], ours, theirs, *args[1:], resamples=20, num_slices=3)
            slices.lifts[name] = {"like": [lift]}
    return dataclasses.replace(found, slices=slices)


def inside(study, analysis):
    """The pictures of the models' insides, without those of slices."""
    leaderboard = build_leaderboard(study, resamples=5)
    pictures = analysis_pictures(analysis, leaderboard)
    return [picture for picture in pictures if not picture.name.startswith("slices-")]


def test_a_look_inside_has_its_pictures_and_tables(study, analysis, tmp_path):
    page = _report(study, tmp_path, analysis)
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


def test_every_exact_zero_of_the_gradient_flow_is_drawn_as_0_on_white(study, analysis):
    flow = analysis.flows["STEMNet"]
    picture = next(p for p in inside(study, analysis) if p.name == "gradient-flow-stemnet")
    axes = picture.figure.axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert len(written) == flow.norms.size
    assert (flow.norms == 0).any()
    for (task, part), norm in np.ndenumerate(flow.norms):
        assert (written[task, part] == "0") == (norm == 0)
    white = [patch for patch in axes.patches if patch.get_hatch()]
    assert len(white) == np.count_nonzero(flow.norms == 0)
    assert [label.get_text() for label in axes.get_xticklabels()] == flow.labels
    assert len(axes.get_yticklabels()) == len(flow.parts)


def test_points_stand_where_the_numbers_are(study):
    leaderboard = build_leaderboard(study, resamples=30)
    picture = next(p for p in leaderboard_pictures(study, leaderboard) if p.name == "transfer-auc")
    click, like = picture.figure.axes[:2]
    # A line has one point of data: an error bar's centre.
    points = [line.get_xdata()[0] for line in click.lines if len(line.get_xdata()) == 1]
    expected = [
        leaderboard.score(name, "click", "AUC").single_task.difference
        for name in study.names
        if name != "SingleTask"
    ]
    assert [x for x in points if x in expected] == expected
    assert [text.get_text() for text in like.texts] == ["no result"]


@pytest.mark.parametrize("metric", ["AUC", "logloss"])
@pytest.mark.parametrize("kind", ["transfer", "quality"])
def test_the_bad_side_is_shaded_whichever_it_is(study, metric, kind):
    leaderboard = build_leaderboard(study, resamples=30)
    name = f"{kind}-{metric.lower()}"
    picture = next(p for p in leaderboard_pictures(study, leaderboard) if p.name == name)
    line = 0.0 if kind == "transfer" else leaderboard.score("SingleTask", "click", metric).mean
    axes = picture.figure.axes[0]
    (shade,) = (patch for patch in axes.patches if patch.get_facecolor()[:3] == to_rgb(SHADE))
    left, right = shade.get_x(), shade.get_x() + shade.get_width()
    ends = axes.get_xlim()
    assert (left, right) == pytest.approx((ends[0], line) if metric == "AUC" else (line, ends[1]))
    assert "shaded" in picture.caption


def test_only_a_claim_has_a_filled_marker(study):
    leaderboard = build_leaderboard(study, resamples=30)
    for metric in ("AUC", "logloss"):
        name = f"transfer-{metric.lower()}"
        picture = next(p for p in leaderboard_pictures(study, leaderboard) if p.name == name)
        filled = [
            line.get_markerfacecolor() != "white"
            for line in picture.figure.axes[0].lines
            # The caps of the error bars are lines, too.
            if line.get_marker() in ("o", "s")
        ]
        expected = [
            leaderboard.score(model, "click", metric).single_task.is_significant
            for model in study.names
            if model != "SingleTask"
        ]
        assert filled == expected
        if metric == "logloss":
            assert "Differences in logloss are not tested" in picture.caption
            assert not any(filled)


def test_pictures_name_the_run_and_the_seed_that_they_show(study, analysis):
    for picture in inside(study, analysis):
        if picture.name == "tables-spectra":
            titles = " ".join(axes.get_title(loc="left") for axes in picture.figure.axes)
            for name, (expid, seed) in analysis.runs.items():
                assert name in titles
                assert f"run {expid}, seed {seed}" in " ".join(titles.split())
            continue
        (name,) = (model for model in analysis.runs if f"-{model.lower()}" in picture.name)
        expid, seed = analysis.runs[name]
        assert picture.caption.startswith(f"run {expid}, seed {seed}.")
        assert picture.figure.get_suptitle() == f"{name}: run {expid}, seed {seed}"
    for picture in leaderboard_pictures(study, build_leaderboard(study, resamples=5)):
        assert "seeds 1, 2, 3" in picture.caption


def test_gates_of_all_models_have_one_scale(study, analysis):
    gates = [p for p in inside(study, analysis) if p.name.startswith("gates-")]
    assert len(gates) == 4
    for picture in gates:
        bar = picture.figure.axes[-1]
        assert bar.get_xlim() == (0, 1)


@given(st.text(alphabet="ab_. -", min_size=1, max_size=60), st.integers(4, 25))
def test_wrapped_names_are_whole_and_narrow(name, width):
    lines = wrapped(name, width).split("\n")
    assert "".join("".join(lines).split()) == "".join(name.split())
    assert all(len(line) <= width + 1 for line in lines)
