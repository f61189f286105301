"""What a search may try: every value that is drawn is one of its range, and every combination of a grid."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fuxictr_stem.config.problems import Problems
from fuxictr_stem.tuning.space import (
    GRID,
    RANDOM,
    Choices,
    Range,
    Search,
    grid_of,
    grid_size,
    points_to_check,
    read_space,
)

ENDS = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6, allow_subnormal=False)


@given(ENDS, ENDS, st.booleans(), st.integers(0, 2**32 - 1))
def test_what_is_drawn_is_in_the_range(low, high, log, seed):
    low, high = sorted((low, high))
    assume(low < high and (low > 0 or not log))
    values = Range(low, high, log)
    # Rounded to four digits, an end would be outside of the range.
    assert low <= values.tidy(low) <= values.tidy(high) <= high
    rng = np.random.default_rng(seed)
    for _ in range(5):
        drawn = values.draw(rng)
        assert values.holds(drawn)
        assert isinstance(drawn, int) == values.is_whole
        # Text of a config gives the number back.
        assert values.tidy(drawn) == drawn


def test_both_ends_are_drawn_and_a_logarithm_is_drawn_evenly():
    rng = np.random.default_rng(0)
    whole = [Range(1, 3).draw(rng) for _ in range(300)]
    assert sorted(set(whole)) == [1, 2, 3]
    rates = np.array([Range(1e-4, 1e-1, log=True).draw(rng) for _ in range(3000)])
    counts, _ = np.histogram(np.log10(rates), bins=3, range=(-4, -1))
    # A third of 3,000 in each decade, within four standard deviations.
    assert (np.abs(counts - 1000) < 4 * np.sqrt(3000 * 2 / 9)).all()
    assert len({f"{rate:.4g}" for rate in rates}) == len(set(rates))


@pytest.mark.parametrize(
    ("values", "others"),
    [
        (Range(1, 3), [0, 4, 2.0, True, "2", None]),
        (Range(0.5, 3), [0.4, 3.1, True, "2", None, float("nan")]),
    ],
)
def test_what_a_range_does_not_hold(values, others):
    assert values.holds(values.low)
    assert values.holds(values.high)
    assert not any(map(values.holds, others))


def test_a_grid_has_every_combination_and_the_last_key_changes_first():
    space = {"rate": Choices([0.1, 0.2]), "units": Choices([[8]]), "epochs": Choices([1, 2, 3])}
    points = grid_of(space)
    assert len(points) == grid_size(space) == Search(space).total == 6
    assert [(point["rate"], point["epochs"]) for point in points] == [
        (rate, epochs) for rate in (0.1, 0.2) for epochs in (1, 2, 3)
    ]
    assert all(point["units"] == [8] for point in points)
    assert grid_of({}) == [{}]


def test_each_value_and_both_ends_are_checked_before_a_search():
    space = {"rate": Range(0.1, 0.5), "units": Choices([[8], [8, 4], [16]])}
    points = points_to_check(Search(space, RANDOM, trials=2))
    assert {point["rate"] for point in points} == {0.1, 0.5}
    assert [point["units"] for point in points] == [[8], [8, 4], [16]]
    assert points_to_check(Search({"rate": Choices([1, 2])}, GRID)) == [{"rate": 1}, {"rate": 2}]


def test_a_digest_is_of_what_trials_are_drawn_from_not_of_their_number():
    first = Search({"rate": Range(0.1, 0.5)}, RANDOM, trials=2)
    assert Search(first.space, RANDOM, trials=9).digest() == first.digest()
    others = [
        Search({"rate": Range(0.1, 0.6)}, RANDOM, 2),
        Search({"rate": Range(0.1, 0.5, log=True)}, RANDOM, 2),
        Search(first.space, RANDOM, 2, seed=1),
        Search(first.space, "tpe", 2),
    ]
    assert len({search.digest() for search in [first, *others]}) == 5


def test_all_forms_of_a_space_are_read_and_all_problems_named():
    problems = Problems()
    forms = {
        "list": [1, 2],
        "choices": {"choices": [[8], [8, 4]]},
        "single": 3,
        "range": {"low": 1, "high": 3},
        "rates": {"low": 1e-4, "high": 0.1, "log": True},
    }
    assert read_space(forms, RANDOM, "search", problems) == {
        "list": Choices([1, 2]),
        "choices": Choices([[8], [8, 4]]),
        "single": Choices([3]),
        "range": Range(1, 3),
        "rates": Range(1e-4, 0.1, log=True),
    }
    assert not problems.lines
    faults = {
        "none": [],
        "twice": [1, 1],
        "turned": {"low": 3, "high": 1},
        "zero": {"low": 0, "high": 1, "log": True},
        "half": {"low": 1},
        "text": {"low": "1e-4", "high": 1},
        "more": {"low": 1, "high": 2, "lgo": True},
    }
    read_space(faults, RANDOM, "search", problems)
    for name, words in {
        "none": "has no value to try",
        "twice": "Name each value once",
        "turned": "low must be below high, found 3 and 1",
        "zero": "with log, low must be above 0",
        "half": "high: is missing. Add it: the largest value; a finite number.",
        "text": "low: must be a finite number, found '1e-4'. YAML reads 1e-4 as text",
        "more": "Did you mean 'low' or 'log'?",
    }.items():
        assert any(f"search.{name}" in line and words in line for line in problems.lines), name
    in_a_grid = Problems()
    read_space({"range": forms["range"]}, GRID, "search", in_a_grid)
    assert "a grid needs a list of values" in in_a_grid.lines[0]
