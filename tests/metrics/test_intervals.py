"""The interval over seeds and users against scipy, and against simulations in which the truth is known."""

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from fuxictr_stem.metrics.intervals import Interval, percentile_interval, seeds_and_users

USERS, RESAMPLES, TRIALS = 30, 60, 600

# Deviations that one seed, one user, and one seed's training for one user add to a difference, so that
# their means over all users are 1 times that.
WORLDS = {
    "seeds": (1.0, 0.0, 0.0),
    "users": (0.0, 1.0, 0.0),
    "interaction": (0.0, 0.0, 1.0),
    "seeds and users": (1.0, 1.0, 0.0),
    "all": (0.6, 0.6, 0.6),
}


def draw(rng, seeds, world):
    """Return the difference of each user at each seed, (S, G), of a true difference of zero."""
    of_seed, of_user, of_both = world
    per_seed = rng.normal(0, of_seed, (seeds, 1)) if of_seed else np.zeros((seeds, 1))
    # The users' part is as large as the mean of the seeds'.
    per_user = rng.normal(0, of_user * np.sqrt(USERS / seeds), USERS)
    return per_seed + per_user + rng.normal(0, of_both * np.sqrt(USERS), (seeds, USERS))


def resampled(rng, table):
    counts = rng.multinomial(USERS, np.full(USERS, 1 / USERS), size=RESAMPLES)
    return table @ counts.T / USERS


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("world", WORLDS)
def test_it_covers_the_truth_nineteen_times_in_twenty(world, seeds):
    rng = np.random.default_rng([seeds, *world.encode()])
    covered = 0
    for _ in range(TRIALS):
        table = draw(rng, seeds, WORLDS[world])
        found = seeds_and_users(table.mean(axis=1), resampled(rng, table), USERS)
        covered += found.low <= 0 <= found.high
    # Of 600 the share of a true 95 % deviates by .009: this is 90 to 98 %, and no luck.
    assert 0.92 <= covered / TRIALS <= 0.98


@pytest.mark.parametrize(("world", "seeds", "most"), [("seeds", 5, 0.88), ("seeds", 2, 0.6)])
def test_plainly_resampled_seeds_cover_too_little(world, seeds, most):
    """Why it is not simply percentiles of both drawn with replacement."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(TRIALS):
        table = draw(rng, seeds, WORLDS[world])
        drawn = resampled(rng, table)
        weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES).T / seeds
        low, high = np.quantile((weights * drawn).sum(axis=0), [0.025, 0.975])
        covered += low <= 0 <= high
    assert covered / TRIALS < most


def test_without_users_that_differ_it_is_the_t_test_over_seeds():
    values = np.array([0.01, 0.03, 0.02, 0.015])
    drawn = np.repeat(values[:, None], 50, axis=1)
    found = seeds_and_users(values, drawn, 40)
    expected = ttest_1samp(values, 0)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval(0.95), rel=1e-6)


def test_without_seeds_that_differ_it_is_the_error_of_the_mean_over_users():
    rng = np.random.default_rng(1)
    users, seeds = 500, 3
    per_user = rng.normal(0.02, 1, users)
    counts = rng.multinomial(users, np.full(users, 1 / users), size=1500)
    drawn = np.repeat((counts @ per_user / users)[None], seeds, axis=0)
    found = seeds_and_users(np.full(seeds, per_user.mean()), drawn, users)
    error = per_user.std(ddof=1) / np.sqrt(users)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.06)
    assert found.p == pytest.approx(2 * norm.sf(abs(per_user.mean()) / error), abs=0.02)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_the_p_value_is_the_level_at_which_the_interval_ends_at_zero(level):
    rng = np.random.default_rng(2)
    table = draw(rng, 4, WORLDS["all"])
    values, drawn = table.mean(axis=1), resampled(rng, table)
    reach = seeds_and_users(values, drawn, USERS, level)
    shift = reach.low
    found = seeds_and_users(values - shift, drawn - shift, USERS, level)
    assert found.low == pytest.approx(0, abs=1e-12)
    assert found.p == pytest.approx(1 - level, rel=1e-6)


def test_where_there_is_nothing_to_go_by_there_is_no_interval():
    drawn = np.random.default_rng(0).normal(size=(2, 9))
    assert seeds_and_users(np.array([0.1]), drawn[:1], 9) is None
    assert seeds_and_users(np.array([0.1, 0.2]), drawn, 1) is None
    assert seeds_and_users(np.array([0.1, 0.2]), np.full((2, 9), np.nan), 9) is None
    assert seeds_and_users(np.zeros(2), np.zeros((2, 9)), 9) == Interval(0, 0, 1)
    assert seeds_and_users(np.ones(2), np.ones((2, 9)), 9) is None
    # A resample with one class has no value for any seed.
    gaps = np.where(np.arange(9) == 3, np.nan, drawn)
    kept = np.delete(drawn, 3, axis=1)
    values = np.array([0.1, 0.2])
    assert seeds_and_users(values, gaps, 9) == seeds_and_users(values, kept, 9)


def test_the_interval_is_made_of_percentiles_and_the_p_value_of_both_sides():
    drawn = np.random.default_rng(0).normal(0.02, 0.02, 999)
    interval = percentile_interval(drawn, 0.025)
    ordered = np.sort(drawn)
    assert ordered[23] <= interval.low <= ordered[26]
    assert ordered[-27] <= interval.high <= ordered[-24]
    assert interval.p == 2 * (np.count_nonzero(drawn <= 0) + 1) / 1000
    assert percentile_interval(-drawn, 0.025).p == interval.p
    assert percentile_interval(np.full(999, 0.1), 0.025).p == 2 / 1000
    assert percentile_interval(np.zeros(10), 0.025).p == 1
    assert percentile_interval(np.array([np.nan, 0.5, np.nan]), 0.025) == Interval(0.5, 0.5, 1.0)
    assert percentile_interval(np.full(3, np.nan), 0.025) is None
