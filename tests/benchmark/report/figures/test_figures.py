"""Pictures show the numbers where they are, and say what they show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from fuxictr_stem.benchmark.report.figures.analysis_figures import analysis_pictures
from fuxictr_stem.benchmark.report.figures.score_figures import leaderboard_pictures
from fuxictr_stem.benchmark.report.figures.style import SHADE, wrapped
from fuxictr_stem.benchmark.score.leaderboard import build_leaderboard


def inside(finished, analysis):
    """The pictures of the models' insides, without those of slices."""
    leaderboard = build_leaderboard(finished, resamples=5)
    pictures = analysis_pictures(analysis, leaderboard)
    return [picture for picture in pictures if not picture.name.startswith("slices-")]


def test_every_exact_zero_of_the_gradient_flow_is_drawn_as_0_on_white(finished, analysis):
    flow = analysis.flows["STEMNet"]
    picture = next(p for p in inside(finished, analysis) if p.name == "gradient-flow-stemnet")
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


def test_points_stand_where_the_numbers_are(finished):
    leaderboard = build_leaderboard(finished, resamples=30)
    picture = next(p for p in leaderboard_pictures(leaderboard) if p.name == "transfer-auc")
    click, like = picture.figure.axes[:2]
    # A line has one point of data: an error bar's centre.
    points = [line.get_xdata()[0] for line in click.lines if len(line.get_xdata()) == 1]
    expected = [
        leaderboard.scores[name, "click", "AUC"].single_task.difference
        for name in finished.names
        if name != "SingleTask"
    ]
    assert [x for x in points if x in expected] == expected
    assert [text.get_text() for text in like.texts] == ["no result"]


@pytest.mark.parametrize("metric", ["AUC", "logloss"])
@pytest.mark.parametrize("kind", ["transfer", "quality"])
def test_the_bad_side_is_shaded_whichever_it_is(finished, metric, kind):
    leaderboard = build_leaderboard(finished, resamples=30)
    name = f"{kind}-{metric.lower()}"
    picture = next(p for p in leaderboard_pictures(leaderboard) if p.name == name)
    line = 0.0 if kind == "transfer" else leaderboard.scores["SingleTask", "click", metric].mean
    axes = picture.figure.axes[0]
    (shade,) = (patch for patch in axes.patches if patch.get_facecolor()[:3] == to_rgb(SHADE))
    left, right = shade.get_x(), shade.get_x() + shade.get_width()
    ends = axes.get_xlim()
    assert (left, right) == pytest.approx((ends[0], line) if metric == "AUC" else (line, ends[1]))
    assert "shaded" in picture.caption


def test_only_a_claim_has_a_filled_marker(finished):
    leaderboard = build_leaderboard(finished, resamples=30)
    for metric in ("AUC", "logloss"):
        name = f"transfer-{metric.lower()}"
        picture = next(p for p in leaderboard_pictures(leaderboard) if p.name == name)
        filled = [
            line.get_markerfacecolor() != "white"
            for line in picture.figure.axes[0].lines
            # The caps of the error bars are lines, too.
            if line.get_marker() in ("o", "s")
        ]
        expected = [
            leaderboard.scores[model, "click", metric].single_task.is_significant
            for model in finished.names
            if model != "SingleTask"
        ]
        assert filled == expected
        if metric == "logloss":
            assert "Differences in logloss are not tested" in picture.caption
            assert not any(filled)


def test_pictures_name_the_run_and_the_seed_that_they_show(finished, analysis):
    for picture in inside(finished, analysis):
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
    for picture in leaderboard_pictures(build_leaderboard(finished, resamples=5)):
        assert "seeds 1, 2, 3" in picture.caption


def test_gates_of_all_models_have_one_scale(finished, analysis):
    gates = [p for p in inside(finished, analysis) if p.name.startswith("gates-")]
    assert len(gates) == 4
    for picture in gates:
        bar = picture.figure.axes[-1]
        assert bar.get_xlim() == (0, 1)


@given(st.text(alphabet="ab_. -", min_size=1, max_size=60), st.integers(4, 25))
def test_wrapped_names_are_whole_and_narrow(name, width):
    lines = wrapped(name, width).split("\n")
    assert "".join("".join(lines).split()) == "".join(name.split())
    assert all(len(line) <= width + 1 for line in lines)
