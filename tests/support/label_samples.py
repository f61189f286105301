"""Samples of binary tasks, drawn for properties of metrics."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


@st.composite
def samples(draw, groups=6):
    """Labels with both classes, scores with many or few ties, group ids."""
    n = draw(st.integers(2, 60))
    seed = draw(st.integers(0, 2**32 - 1))
    positive_rate = draw(st.sampled_from([0.02, 0.5, 0.9]))
    levels = draw(st.sampled_from([1, 2, 3, 10, 10**9]))
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < positive_rate).astype(int)
    one, other = rng.choice(n, 2, replace=False)
    y[one], y[other] = 0, 1
    return y, rng.integers(0, levels, n) / levels, rng.integers(0, groups, n)
