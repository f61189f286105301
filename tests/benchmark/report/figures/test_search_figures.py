"""Pictures of searches show each trial where its numbers are, and the best so far."""

import numpy as np
import pytest

from fuxictr_stem.benchmark.report.figures import style
from fuxictr_stem.benchmark.report.figures.search_figures import front_pictures, search_pictures
from fuxictr_stem.tuning.trials import DONE, FAILED, PRUNED, Trial, Trials

RESULTS = [(DONE, 0.7), (PRUNED, 0.9), (DONE, 0.65), (FAILED, np.nan), (DONE, 0.72), (DONE, 0.71)]
RATES = [0.1, 0.2, 0.001, 0.3, 0.01, 0.02]


def search(mode="max", count=6):
    trials = [
        Trial(n, f"t{n}", {"rate": rate, "units": [n % 2]}, state, value)
        for n, (rate, (state, value)) in enumerate(zip(RATES, RESULTS, strict=True))
    ]
    return Trials("toy", "AUC", mode, trials[:count])


def picture_of(name, *searches):
    return next(picture for picture in search_pictures(searches) if picture.name == name)


@pytest.mark.parametrize(
    ("mode", "best"),
    [("max", [0.7, 0.7, 0.7, 0.7, 0.72, 0.72]), ("min", [0.7, 0.7, 0.65, 0.65, 0.65, 0.65])],
)
def test_the_line_is_the_best_finished_trial_so_far(mode, best):
    panel = picture_of("search-trials", search(mode)).figure.axes[0]
    (line,) = panel.lines
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    assert line.get_ydata().tolist() == best
    done, pruned, _, failed = (points.get_offsets().tolist() for points in panel.collections)
    assert done == [[1, 0.7], [3, 0.65], [5, 0.72], [6, 0.71]]
    assert pruned == [[2, 0.9]]
    # At the bottom, whatever the values are.
    assert failed == [[4, 0.02]]


def test_searches_have_a_panel_each_and_one_trial_has_no_picture():
    assert len(picture_of("search-trials", search(), search("min")).figure.axes) == 2
    assert not list(search_pictures([search(count=1)]))
    assert len(picture_of("search-trials", search(count=1), search()).figure.axes) == 1


@pytest.mark.parametrize(("mode", "best"), [("max", 0.01), ("min", 0.001)])
def test_parallel_lines_pass_through_their_values_and_the_best_is_red(mode, best):
    panel = picture_of("search-parallel", search(mode)).figure.axes[0]
    lines = [line for line in panel.lines if len(line.get_ydata()) == 3 and line.get_zorder() > 1]
    red = [line for line in lines if line.get_color() == style.VERMILLION]
    # The rate goes over more than a decade, so its axis is logarithmic.
    height = {rate: np.log(rate / 0.001) / np.log(100) for rate in (0.1, 0.001, 0.01, 0.02)}
    drawn = sorted(line.get_ydata()[0] for line in lines if line not in red)
    assert drawn == pytest.approx(sorted(height.values()))
    assert [line.get_ydata()[0] for line in red] == [pytest.approx(height[best])]
    monitors = sorted(line.get_ydata()[2] for line in lines if line not in red)
    assert monitors == pytest.approx([0, 5 / 7, 6 / 7, 1])


def test_a_front_is_joined_and_every_pair_of_objectives_has_a_panel():
    modes = {"like": "max", "view": "max", "loss": "min"}
    points = [(0.7, 0.6, 0.5), (0.8, 0.5, 0.4), (0.6, 0.5, 0.6)]
    trials = [
        Trial(n, f"t{n}", {}, DONE, 0.5, dict(zip(modes, point, strict=True)))
        for n, point in enumerate(points)
    ]
    (picture,) = front_pictures(trials, trials[:2], modes)
    labels = [(a.get_xlabel(), a.get_ylabel()) for a in picture.figure.axes[:3]]
    assert labels == [
        ("like, higher is better", "view, higher is better"),
        ("like, higher is better", "loss, lower is better"),
        ("view, higher is better", "loss, lower is better"),
    ]
    panel = picture.figure.axes[0]
    assert panel.collections[0].get_offsets().tolist() == [list(point[:2]) for point in points]
    (front,) = panel.lines
    assert np.transpose(front.get_data()).tolist() == [[0.7, 0.6], [0.8, 0.5]]
    assert "3 trials" in picture.alt
    assert "2 are on the Pareto front" in picture.alt
    assert not list(front_pictures(trials, trials[:1], {"like": "max"}))
