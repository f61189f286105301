"""The gradients of a table's touched rows are those of an embedding."""

import torch

from fuxictr_stem.layers.row_gradients import RowGradients, look_up


def test_rows_in_fixed_shapes(elsewhere):
    rows, values = torch.tensor([7, 0, 3, 7, 3, 3]), torch.randn(6, 2)
    found = []
    for on in (False, True):
        elsewhere(on)
        gradients = RowGradients()
        gradients.add(rows, values)
        found.append(gradients.take())
    (touched, sums), (padded, padded_sums) = found
    assert padded.tolist() == [0, 3, 7, 0, 0, 0]
    assert touched.tolist() == [3, 7]
    torch.testing.assert_close(padded_sums[1:3], sums)
    assert not padded_sums[[0, 3, 4, 5]].any()


def test_row_gradients_are_the_embeddings_own():
    weight = torch.randn(9, 3, requires_grad=True)
    rows, grad = torch.tensor([[1, 4], [4, 0], [8, 4]]), torch.randn(3, 2, 3)
    torch.nn.functional.embedding(rows, weight, padding_idx=0).backward(grad)
    gradients = RowGradients()
    look_up(weight.detach().requires_grad_(), rows, gradients).backward(grad)
    touched, values = gradients.take()
    assert touched.tolist() == [1, 4, 8]
    torch.testing.assert_close(values, weight.grad[touched])
    assert gradients.take() is None
