"""Tables of several vocabularies: an id reads its own row, and the padding is zero."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuxictr_stem.layers import FieldTables
from tests.support.small_models import batch, categorical, feature_map, sequence, small_model


@given(
    sizes=st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=4),
    tables=st.integers(1, 3),
)
def test_no_two_ids_share_a_row(sizes, tables):
    module = FieldTables(
        [n for n, _ in sizes], [p for _, p in sizes], 2, tables, torch.nn.init.ones_
    )
    width = 2 * tables
    distinct = torch.arange(1.0, module.table.weight.numel() + 1).view(-1, width)
    with torch.no_grad():
        module.table.weight[1:] = distinct[1:]
    seen = set()
    for vocab, (size, padded) in enumerate(sizes):
        rows = module(torch.arange(size)[:, None], torch.tensor([vocab]))[:, 0]
        for id_, row in enumerate(rows.tolist()):
            if padded and id_ == 0:
                assert row == [0.0] * width
            else:
                seen.add(tuple(row))
    assert len(seen) == sum(size - padded for size, padded in sizes)


@pytest.mark.parametrize("bad", [-1, 4])
def test_an_id_outside_its_vocabulary_never_reads_a_neighbour(bad):
    module = FieldTables([4, 9], [True, True], 2, 1, torch.nn.init.ones_)
    with pytest.raises(IndexError, match="outside its vocabulary"):
        module(torch.tensor([[bad, 1]]), torch.tensor([0, 1]))


def test_padding_stays_zero_in_training():
    fmap = feature_map({"a": categorical(4), "s": sequence(4, 3)})
    model = small_model("STEMNet", fmap, embedding_regularizer=0.1, optimizer="SGD")
    columns = batch(fmap)
    columns["a"][:8] = 0
    for _ in range(3):
        model.train_step(columns)
    assert not model.embedding_layer.tables[0].table.weight[0].any()
