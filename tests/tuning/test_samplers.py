"""Which settings come next: the experiment's own, then others by chance or by TPE."""

import pytest

from fuxictr_stem.tuning.space import Choices
from tests.support.made_up_trials import OWN, make, play


def fits(point):
    whole = isinstance(point["epochs"], int) and 1 <= point["epochs"] <= 3
    known = point["units"] in ([8], [8, 4]) and point["optimizer"] in ("adam", "SGD")
    return whole and known and 1e-4 <= point["learning_rate"] <= 1e-1


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_own_settings_come_first_and_all_others_fit(tmp_path, sampler):
    points = play(make(tmp_path, sampler), range(8))
    assert points[0] == OWN
    assert all(map(fits, points))
    assert len({str(point) for point in points}) == 8


def test_more_trials_by_chance_begin_with_the_same_ones(tmp_path):
    few, many, other = (
        make(tmp_path, "random", trials, seed=seed) for trials, seed in ((4, 0), (9, 0), (4, 1))
    )
    assert many.points[:4] == few.points
    assert other.points[1:] != few.points[1:]


def test_chance_ends_where_everything_was_tried(tmp_path):
    space = {"optimizer": Choices(["adam", "SGD", "AdamW"])}
    made = make(tmp_path, "random", 20, {"optimizer": "adam"}, space=space)
    assert sorted(point["optimizer"] for point in made.points) == ["AdamW", "SGD", "adam"]
