"""What the metrics accept and reject."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fuxictr_stem.errors import DataError
from fuxictr_stem.metrics import (
    auc,
    gauc,
    logloss,
    mae,
    mse,
)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, torch.float32, torch.float64])
def test_input_types_give_one_answer(dtype):
    rng = np.random.default_rng(11)
    y, p, g = rng.integers(0, 2, 300), rng.random(300).astype(np.float16), rng.integers(0, 9, 300)
    expected = auc(y, p.astype(float)), gauc(y, p.astype(float), g), logloss(y, p.astype(float))
    if isinstance(dtype, torch.dtype):
        labels, scores = torch.tensor(y)[:, None].bool(), torch.tensor(p, dtype=dtype)[:, None]
    else:
        labels, scores = y.astype(np.uint8), p.astype(dtype)
    found = auc(labels, scores), gauc(labels, scores, torch.tensor(g)), logloss(labels, scores)
    assert found == expected


MASKED = np.ma.masked_array([0, 1, 1], mask=[False, True, False])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc([0, 1, 1], [0.1, 0.2]), "y_true 3, y_pred 2"),
        (lambda: gauc([0, 1], [0.1, 0.2], [1]), "y_true 2, y_pred 2, group_id 1"),
        (lambda: logloss([0], [0.1, 0.2]), "y_true 1, y_pred 2"),
        (lambda: mse([0.0], [0.1, 0.2]), "y_true 1, y_pred 2"),
        (lambda: auc([], []), "y_true is empty"),
        (lambda: mae([], []), "y_true is empty"),
        (lambda: auc([[0, 1]], [[0, 1]]), r"shape \(N,\)"),
        (lambda: auc([0, 1, 1, 0], [0.1, math.nan, math.inf, 0.2]), "y_pred has 2 of 4 values"),
        (lambda: logloss([0, 1], [0.1, -math.inf]), "y_pred has 1 of 2 values"),
        (lambda: mse([math.nan, 1], [0.1, 0.2]), "y_true has 1 of 2 values"),
        (lambda: auc([0, 1], ["0.1", "0.2"]), "real numbers"),
        (lambda: auc([0, 1], [0.1, {}]), "must hold numbers"),
        (lambda: auc([0, 1], [1j, 2j]), "real numbers"),
        (lambda: auc([0, 1, 2, -1], [0.1] * 4), "2 of 4 labels .* such as 2"),
        (lambda: logloss([0, 0.5], [0.1] * 2), "1 of 2 labels .* such as 0.5"),
        (lambda: gauc([0, math.nan], [0.1] * 2, [1, 1]), "1 of 2 labels .* such as nan"),
        (lambda: auc(["0", "1"], [0.1] * 2), "must hold 0 and 1"),
        (lambda: auc([0, 0, 0], [0.1] * 3), "all 3 labels are 0"),
        (lambda: auc([1, 1], [0.1] * 2), "all 2 labels are 1"),
        (lambda: logloss([0, 1, 1], [0.1, 1.1, -0.1]), "2 of 3 values outside"),
        (lambda: gauc([0, 1], [0.1] * 2, [1, 2]), "none of the 2 groups"),
        (lambda: gauc([0, 1], [0.1] * 2, [1, 1], "users"), "samples, equal, positives.*'users'"),
        (lambda: gauc([0, 1], [0.1] * 2, [1.0, math.nan]), "1 of 2 missing"),
        (lambda: gauc([0, 1], [0.1] * 2, ["u", None]), "ids of one kind"),
        (lambda: auc([0, 1, 1], MASKED), "y_pred has 1 of 3 values masked"),
        (lambda: auc(MASKED, [0.1] * 3), "y_true has 1 of 3 values masked"),
        (lambda: gauc([0, 1, 1], [0.1] * 3, MASKED), "group_id has 1 of 3 values masked"),
        (lambda: auc([0, 1], [0.1, [0.2, 0.3]]), "y_pred cannot be read as an array .*inhomogen"),
        (lambda: auc(torch.tensor([0, 1]).to_sparse(), [0.1] * 2), "y_true cannot be .*[Ss]parse"),
        (lambda: auc([0, 1], torch.ones(2, device="meta")), "y_pred cannot be read as an array"),
        (lambda: auc([0, 1], [2**53, 2**53 + 1]), "1 of 2 whole numbers beyond 2"),
        (lambda: auc([0, 1], [0.5, -(2**53) - 1]), "1 of 2 whole numbers beyond 2"),
        (lambda: auc([0, 1], [2**64, 2**64 + 1]), "2 of 2 whole numbers beyond 2"),
        (lambda: auc([0, 1], torch.tensor([2**60, 2**60 + 1])), "2 of 2 whole numbers beyond 2"),
        (lambda: mse([-(2**63), 1], [0.1] * 2), "y_true has 1 of 2 whole numbers beyond 2"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_what_float64_holds_is_measured():
    assert auc([0, 1], [2**53 - 1, 2**53]) == 1
    assert auc([0, 1], [-1e300, 1e300]) == auc([0, 1], [0.5, 2.0**60]) == 1
    assert auc([0, 1], np.ma.masked_array([0.1, 0.2])) == 1


def test_hashed_ids_in_a_list_stay_apart():
    """From 2**63 on NumPy makes a list of whole numbers floats; neighbours must not merge."""
    ids = [2**63, 2**63 + 1, 2**63 + 1, 5]
    with pytest.raises(DataError, match="both classes"):
        gauc([0, 1, 1, 0], [0.1, 0.2, 0.3, 0.4], ids)
    assert gauc([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], [2**63, 2**63 + 1, 2**63 + 1, 5]) == 0.0


def test_tensors_of_any_kind():
    scores = torch.tensor([0.125, 0.5, 0.25, 0.75], requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0])
    assert auc(labels, scores) == auc(labels, scores.bfloat16()) == 0.5
