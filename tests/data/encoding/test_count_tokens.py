"""How often each token occurs, whatever the blocks."""

from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuxictr_stem.data.encoding import count_tokens
from fuxictr_stem.data.encoding.count_tokens import TokenCounts


def test_tokens_of_many_blocks_are_one_table():
    counts = TokenCounts()
    for tokens in (["a", "b"], ["b", None]):
        counts.add(pl.Series(tokens))
    assert dict(counts.table().rows()) == {"a": 1, "b": 2}


@given(
    rows=st.lists(
        st.tuples(
            st.none() | st.sampled_from("ab"),
            st.none() | st.lists(st.sampled_from("bc"), max_size=3),
        ),
        min_size=1,
        max_size=12,
    ),
    block_rows=st.integers(1, 5),
    merge_rows=st.integers(1, 4),
)
def test_tokens_are_counted_whatever_the_blocks(rows, block_rows, merge_rows):
    schema = {"word": pl.String, "seq": pl.List(pl.String)}
    frame = pl.LazyFrame(rows, schema=schema, orient="row")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(count_tokens, "_MERGE_ROWS", merge_rows)
        counts = count_tokens.count_tokens(frame, ["word", "seq"], block_rows=block_rows)
    assert counts["word"].counts() == Counter(word for word, _ in rows if word is not None)
    assert counts["seq"].counts() == Counter(token for _, seq in rows for token in seq or [])
    assert counts["seq"].longest == max(len(seq or []) for _, seq in rows)


def test_counts_of_other_processes_are_added(tmp_path):
    counts, second, third, nothing = (TokenCounts() for _ in range(4))
    counts.add(pl.Series(["a", "b", "a"]))
    second.add(pl.Series(["b", "c"]))
    third.add(pl.Series(["c"]))
    for number, (other, longest) in enumerate([(second, 4), (third, 2), (nothing, 9)]):
        other.write(tmp_path / str(number))
        counts.add_file(tmp_path / str(number), longest)
    assert counts.counts() == {"a": 2, "b": 2, "c": 2}
    assert counts.longest == 4
