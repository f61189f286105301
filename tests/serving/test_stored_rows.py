"""Rows that are stored in fewer bytes are read as close to the weights as their type can be."""

import pytest
import torch

from fuxictr_stem.serving.stored_rows import FLOAT16, FLOAT32, INT8, StoredRows


@pytest.mark.parametrize(("stored_as", "step"), [(FLOAT16, 2**-11), (INT8, 1 / 254)])
def test_stored_rows_are_off_by_half_a_step(stored_as, step):
    weight = torch.randn(50, 12) * torch.logspace(-3, 3, 50)[:, None]
    weight[7] = 0
    rows = torch.tensor([[0, 7], [49, 3]])
    original = weight.clone()
    table = StoredRows(original, 3, stored_as)
    read = table(rows)
    assert read.dtype == torch.float32
    assert read.shape == (2, 2, 12)
    assert not read[0, 1].any()
    parts = weight[rows].unflatten(2, (3, 4))
    largest = parts.abs().amax(dim=3, keepdim=True)
    size = parts.abs() if stored_as == FLOAT16 else largest
    assert ((read.unflatten(2, (3, 4)) - parts).abs() <= step * size * 1.001 + 1e-7).all()
    assert not torch.equal(read, weight[rows])
    table.round_original()
    assert torch.equal(original[rows], read)


def test_sizes_of_stored_rows():
    weight = torch.randn(100, 48)
    sizes = [StoredRows(weight, 3, kind).stored_bytes for kind in (FLOAT32, FLOAT16, INT8)]
    assert sizes == [100 * 48 * 4, 100 * 48 * 2, 100 * (48 + 3 * 4)]


def test_a_number_too_large_for_float16_is_rejected():
    with pytest.raises(ValueError, match="float16.*1e\\+05.*int8"):
        StoredRows(torch.tensor([[1e5, 1.0]]), 1, FLOAT16)
