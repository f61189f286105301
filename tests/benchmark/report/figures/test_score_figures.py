"""Pictures of the leaderboard show the numbers where they are, and say what they show."""

import pytest
from matplotlib.colors import to_rgb

from fuxictr_stem.benchmark.report.figures.score_figures import leaderboard_pictures
from fuxictr_stem.benchmark.report.figures.style import SHADE
from fuxictr_stem.benchmark.score.leaderboard import build_leaderboard


def test_points_are_where_the_numbers_are(finished):
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
