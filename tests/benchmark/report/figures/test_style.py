"""Names in lines, and axes that can be read."""

from hypothesis import given
from hypothesis import strategies as st

from fuxictr_stem.benchmark.report.figures.style import wrapped


@given(st.text(alphabet="ab_. -", min_size=1, max_size=60), st.integers(4, 25))
def test_wrapped_names_are_whole_and_narrow(name, width):
    lines = wrapped(name, width).split("\n")
    assert "".join("".join(lines).split()) == "".join(name.split())
    assert all(len(line) <= width + 1 for line in lines)
