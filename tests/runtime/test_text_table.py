"""Tables and amounts as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuxictr_stem.runtime.text_table import amount, format_bytes, text_table

CELLS = st.text("ab1.", min_size=1, max_size=6)


@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=5),
    left=st.integers(0, 3),
)
def test_each_column_is_one_block_of_characters(rows, left):
    lines = text_table(rows, left, indent="    ").split("\n")
    start = 4
    for index, column in enumerate(zip(*rows, strict=True)):
        end = start + max(map(len, column))
        blocks = [line[start:end] for line in lines]
        assert [block.strip() for block in blocks] == list(column)
        for block in blocks:
            assert not (block.startswith(" ") if index < left else block.endswith(" "))
        start = end + 2
    assert all(line.startswith("    ") and not line.endswith(" ") for line in lines)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1.0 KiB"),
        (1.5 * 2**30, "1.5 GiB"),
        (2**52, "4,096.0 TiB"),
    ],
)
def test_bytes_have_the_largest_unit_that_fits(count, text):
    assert format_bytes(count) == text


def test_more_bytes_than_a_float_holds_are_written():
    assert format_bytes(10**400).endswith(" TiB")


def test_amounts():
    assert [amount(n, "row") for n in (0, 1, 1000)] == ["0 rows", "1 row", "1,000 rows"]
