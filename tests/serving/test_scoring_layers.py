"""The layers that score compute what those of the model compute, without what only training needs."""

import pytest
import torch
from torch import nn

from fuxictr_stem.layers import GateBank, GroupedMLP
from fuxictr_stem.layers.gates import GateRules
from fuxictr_stem.serving.scoring_layers import ScoringGates, ScoringMLP
from tests.support.small_models import spread

ROWS, WIDTH = 16, 5


def in_use(layer, *inputs):
    """A layer whose weights are far from zero, whose norms have seen batches, and that scores now."""
    spread(layer).train()
    for _ in range(3):
        layer(*inputs)
    return layer.eval()


@torch.no_grad()
@pytest.mark.parametrize("activation", ["ReLU", "prelu", "dice", "tanh", None])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("groups", "streams"), [(3, 3), (4, 2), (3, 1)])
def test_mlps_compute_what_the_models_do(activation, batch_norm, groups, streams):
    activations = {"hidden_activations": activation, "dropout_rates": 0.3}
    mlp = GroupedMLP(groups, WIDTH, [7, 6], 2, batch_norm=batch_norm, **activations)
    x_SBI = torch.randn(streams, ROWS, WIDTH)
    expected = in_use(mlp, x_SBI)(x_SBI)
    scoring = ScoringMLP(mlp)
    torch.testing.assert_close(scoring(x_SBI), expected, atol=1e-5, rtol=1e-5)
    for rows in (1, 2):
        part = scoring(x_SBI[:, :rows])
        torch.testing.assert_close(part, expected[:, :rows], atol=1e-5, rtol=1e-5)
    kinds = {type(part) for part in scoring.modules()}
    assert nn.Dropout not in kinds
    # Of batch norms only those within Dice are left.
    assert (nn.BatchNorm1d in kinds) == (activation == "dice")


@torch.no_grad()
def test_mlps_without_layers_give_their_input():
    x_SBI = torch.randn(2, ROWS, WIDTH)
    assert torch.equal(ScoringMLP(GroupedMLP(2, WIDTH, []))(x_SBI), x_SBI)


@torch.no_grad()
@pytest.mark.parametrize("hidden", [[], [6]])
@pytest.mark.parametrize("streams", [1, 3])
def test_gates_weigh_as_the_models_and_never_what_they_do_not_read(hidden, streams):
    read = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 1], [1, 0, 0, 0]])
    bank = GateBank(GateRules(read, read), WIDTH, hidden)
    x_SBI, experts_EBH = torch.randn(streams, ROWS, WIDTH), torch.randn(4, ROWS, 2)
    # Inputs so large that no unread expert may win by them.
    for scale in (1, 1e4):
        expected = in_use(bank, x_SBI, experts_EBH)(x_SBI * scale, experts_EBH)
        gates = ScoringGates(bank)
        scores = gates(x_SBI * scale, experts_EBH)
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
        weights_BQE = gates.weights(x_SBI * scale)
        assert not weights_BQE[:, read == 0].any()
        torch.testing.assert_close(weights_BQE.sum(2), torch.ones(ROWS, 3))
