"""The means of gates' weights, over rows and not over batches."""

import numpy as np
import torch

from fuxictr_stem.layers import GateBank, cgc_rules
from fuxictr_stem.training.trackers.gate_means import GateSums, NamedGates, figure_name


def test_means_are_over_the_rows_of_all_batches_and_of_what_a_gate_reads():
    bank = GateBank(cgc_rules(2, 1, 1), 4, [3])
    place = NamedGates("layer 1", bank, ["like", "a/b"], ["like.1", "a/b.1", "shared.1"])
    assert place.reads().tolist() == [[True, False, True], [False, True, True]]
    sums, seen = GateSums(place), []
    assert dict(sums.figures()) == {}
    with place.watched(lambda weights_QBE: (sums.add(weights_QBE), seen.append(weights_QBE))):
        for rows in (1, 6, 30):
            bank.weights(torch.randn(2, rows, 4))
    bank.weights(torch.randn(2, 50, 4))  # of no validation
    assert [weights.shape[1] for weights in seen] == [1, 6, 30]
    means = torch.cat(seen, dim=1).mean(dim=1).tolist()
    expected = {
        "gate/layer_1/like/like.1": means[0][0],
        "gate/layer_1/like/shared.1": means[0][2],
        "gate/layer_1/a_b/a_b.1": means[1][1],
        "gate/layer_1/a_b/shared.1": means[1][2],
    }
    figures = dict(sums.figures())
    assert figures.keys() == expected.keys()
    np.testing.assert_allclose(list(figures.values()), list(expected.values()), rtol=1e-6)
    assert figure_name("gate", "é x") == "gate/é_x"
