"""Heat maps have a number in every cell, and colours that its scale says."""

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import LogNorm, Normalize, to_rgb

from fuxictr_stem.benchmark.report.figures import style
from fuxictr_stem.benchmark.report.figures.heat_maps import Grid, draw_heat_maps

VALUES = np.array([[0.0, 1e-3, 1.0], [np.nan, 0.5, 1e-2]])


def drawn(norm, values=VALUES, columns=("a", "b", "c")):
    grid = Grid("title", ["first", "second"], list(columns), values)
    figure = draw_heat_maps([grid], "what it is", norm, "{:.3g}".format, title="toy: run 1")
    axes = figure.axes[0]
    cells = {
        (round(patch.get_y() + 0.5), round(patch.get_x() + 0.5)): patch for patch in axes.patches
    }
    texts = {(text.get_position()[1], text.get_position()[0]): text for text in axes.texts}
    return figure, cells, texts


@pytest.mark.parametrize("norm", [Normalize(0, 1), LogNorm(1e-3, 1)])
def test_every_value_is_in_its_cell_and_has_its_colour(norm):
    figure, cells, texts = drawn(norm)
    there = {place for place, value in np.ndenumerate(VALUES) if not np.isnan(value)}
    assert set(cells) == set(texts) == there
    for place in there:
        value = VALUES[place]
        assert texts[place].get_text() == f"{value:.3g}"
        # A logarithm has no zero.
        hidden = isinstance(norm, LogNorm) and value == 0
        assert bool(cells[place].get_hatch()) == hidden
        colour = to_rgb("white") if hidden else matplotlib.colormaps[style.HEAT](norm(value))[:3]
        assert cells[place].get_facecolor()[:3] == pytest.approx(colour)
    assert figure.axes[-1].get_xlabel() == "what it is"
    assert figure.get_suptitle() == "toy: run 1"
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["first", "second"]


def test_figures_can_be_read_on_every_colour():
    """WCAG 2.1: a contrast of at least 3 for large text; 9 points on a picture of this size are."""
    values = np.linspace(0, 1, 20).reshape(2, 10)
    _, cells, texts = drawn(Normalize(0, 1), values, [f"{place}" for place in range(10)])

    def luminance(colour):
        rgb = np.array(colour[:3])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    for place, cell in cells.items():
        pair = luminance(cell.get_facecolor()), luminance(to_rgb(texts[place].get_color()))
        assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 3, place


def test_long_names_of_columns_are_upright_and_maps_share_their_width():
    long = Grid("long", ["x"], ["a_very_long_name_of_a_column_" * 2] * 3, np.ones((1, 3)))
    longest = Grid("one piece", ["x"], ["unbrokenname" * 3] * 3, np.ones((1, 3)))
    short = Grid("short", ["x"], ["a", "b"], np.ones((1, 2)))
    figure = draw_heat_maps([long, longest, short], "", Normalize(0, 1), str, title="")
    turned = [axes.get_xticklabels()[0].get_rotation() for axes in figure.axes[:3]]
    assert turned == [0, 90, 0]
    assert {axes.get_xlim() for axes in figure.axes[:3]} == {(-0.5, 2.5)}
