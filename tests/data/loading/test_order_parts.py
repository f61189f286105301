"""Parts of batches that several processes share."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_stem.data.loading.order import rows_of_share
from fuxictr_stem.runtime.group import ALONE, Member
from tests.support.groups import on_threads
from tests.support.splits import ANY, loader, write


@given(count=st.integers(1, 4), kept=st.sampled_from(["not", "by each", "once"]), **ANY)
@settings(max_examples=100, deadline=None)
def test_the_parts_of_each_batch_are_the_batch(
    tmp_path_factory, count, kept, rows, batch_size, chunk, window, shuffle, drop_last, seed
):
    """Whatever the windows cut, and whether the split is kept in memory; a part may have no row."""
    path = tmp_path_factory.getbasetemp() / f"parts-{rows}.h5"
    write(path, rows)
    more = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last, "seed": seed}
    more["memory_budget"] = 0 if kept == "not" else 10**9
    whole = loader(path, chunk, window, **more)

    def of_part(group):
        host = group if kept == "once" else ALONE
        return loader(path, chunk, window, member=Member(group.number, count), host=host, **more)

    parts = on_threads(count, of_part)
    assert [part.in_memory for part in parts] == [kept != "not"] * count
    for _ in range(2):
        batches = list(whole)
        of_parts = [list(part) for part in parts]
        assert [len(batches)] * count == [len(each) for each in of_parts]
        for index, batch in enumerate(batches):
            pieces = [each[index] for each in of_parts]
            assert whole.rows_in(index) == sum(len(piece["row"]) for piece in pieces)
            sizes = [len(piece["row"]) for piece in pieces]
            assert max(sizes) - min(sizes) <= 1
            for name, column in batch.items():
                joined = torch.cat([piece[name] for piece in pieces])
                assert joined.dtype == column.dtype
                torch.testing.assert_close(joined, column, rtol=0, atol=0, equal_nan=True)


@given(rows=st.integers(1, 60), batch_size=st.integers(1, 20), count=st.integers(1, 4))
def test_places_put_the_parts_of_a_split_together(rows, batch_size, count):
    batches = np.split(np.arange(rows), range(batch_size, rows, batch_size))
    for number in range(count):
        member = Member(number, count)
        expected = np.concatenate([batch[slice(*member.share_of(len(batch)))] for batch in batches])
        assert rows_of_share(member, rows, batch_size).tolist() == expected.tolist()
