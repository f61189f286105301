"""Numbers as the leaderboard and the report write them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_stem.benchmark.report.formatting import number, p_value, signed, span


def test_numbers_as_they_are_written():
    assert [number(v) for v in (0.75724, -0.00126, 0.0, 1.5, 12345.678, 10.0)] == [
        ".7572",
        "-.0013",
        ".0000",
        "1.5000",
        "12346",
        "10",
    ]
    assert [signed(v) for v in (0.0012, -0.0003, 0.0)] == ["+.0012", "-.0003", ".0000"]
    assert [p_value(p) for p in (0.0123, 0.0004, 0.0005, 1.0)] == [
        ".012",
        "< .001",
        ".001",
        "1.000",
    ]


def test_what_is_not_zero_is_not_written_as_zero():
    assert span(-0.00031, -0.00002) == "[-.0003, -.00002]"
    assert span(-0.00003, 0.0013) == "[-.00003, +.0013]"
    assert span(0.0, 0.00004999) == "[.0000, +.00005]"
    assert span(-0.00005, 3e-12) == "[-.0001, +3e-12]"
    # A p value shows on which side of .05 it is.
    assert [p_value(p) for p in (0.0496, 0.05, 0.05004)] == [".0496", ".050", ".05004"]


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_a_written_interval_holds_zero_as_the_interval_does(low, high):
    low, high = sorted((low, high))
    ends = [float(end) for end in span(low, high)[1:-1].split(", ")]
    assert [np.sign(end) for end in ends] == [np.sign(low), np.sign(high)]
