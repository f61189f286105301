"""Tables split over processes: every row once, with the weights of one process, evenly loaded."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.layers import FieldTables, row_shards
from fuxictr_stem.layers.row_shards import RowShard, rows_split
from fuxictr_stem.models.expressions import parse_initializer


@given(rows=st.integers(1, 300), count=st.integers(1, 9))
def test_every_row_but_the_padding_is_kept_once(rows, count):
    everywhere = torch.arange(rows)
    shards = [RowShard(rows, number, count) for number in range(count)]
    seen = []
    for number, shard in enumerate(shards):
        at, slots = shard.kept(everywhere)
        assert sorted(slots.tolist()) == list(range(1, shard.size))
        assert torch.equal(shard.owners(at), torch.full_like(at, number))
        seen += at.tolist()
    assert sorted(seen) == list(range(1, rows))
    sizes = [shard.size for shard in shards]
    assert max(sizes) - min(sizes) <= 1


def test_a_large_table_has_no_overflow():
    shard = RowShard(2_500_000_000, 5, 8)
    rows = torch.tensor([1, 2_499_999_998, 2_499_999_999])
    assert shard.slots(rows).min() >= 1
    assert shard.owners(rows).max() < 8


@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_vocabulary_sorted_by_frequency_loads_all_alike(count):
    """The busiest would have 2.4 times the mean of 8 if rows were cut as they lie."""
    rows = 100_001
    weights = 1 / np.arange(1, rows)
    owners = RowShard(rows, 0, count).owners(torch.arange(1, rows)).numpy()
    # Each batch asks for a row once, however often it has it.
    asked = 1 - (1 - weights / weights.sum()) ** 4096
    load = np.bincount(owners, weights=asked, minlength=count)
    assert load.max() < 1.02 * load.mean()


INITIALIZERS = [
    "partial(nn.init.normal_, std=0.5)",
    "partial(nn.init.uniform_, a=-1.0)",
    "nn.init.xavier_normal_",
    "nn.init.xavier_uniform_",
    "nn.init.kaiming_normal_",
    "nn.init.kaiming_uniform_",
    "nn.init.zeros_",
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tables", [1, 3])
@pytest.mark.parametrize("text", INITIALIZERS)
def test_weights_are_drawn_as_in_one_process(monkeypatch, text, tables, dtype):
    """Block by block, whatever the sizes, and with nothing left to tell what is drawn afterwards."""
    monkeypatch.setattr(row_shards, "BLOCK_ROWS", 16)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        initializer = parse_initializer(text)

        def made():
            torch.manual_seed(3)
            sizes = [50, 2, 16, 33, 1, 2, 70]
            padded = [True, True, False, True, True, False, False]
            return FieldTables(sizes, padded, 5, tables, initializer), torch.rand(3)

        whole, after = made()
        weight = torch.empty_like(whole.table.weight)
        weight[0] = 0
        for number in range(3):
            with rows_split(number, 3):
                part, then = made()
            at, slots = part.shard.kept(torch.arange(part.num_rows))
            weight.data[at] = part.table.weight.data[slots]
            assert not part.table.weight[0].any()
            assert torch.equal(after, then)
        assert torch.equal(weight, whole.table.weight)
    finally:
        torch.set_default_dtype(default)


def test_an_initializer_that_looks_at_what_it_draws_is_rejected():
    with rows_split(0, 2), pytest.raises(ConfigError, match="embedding_initializer: .*in blocks"):
        FieldTables([9], [True], 2, 1, parse_initializer("nn.init.trunc_normal_"))
