"""OMoE: one set of experts and one gate for all tasks (Jacobs et al. 1991, named in KDD 2018's MMoE)."""

from __future__ import annotations

from fuxictr_stem.models.mmoe import MMoE


class OMoE(MMoE):
    """`MMoE` with a single gate: ``y_i = activation(tower_i(sum_e g[e] expert_e(x)))``."""

    def num_gates(self) -> int:
        """Return how many gates there are: one for all tasks."""
        return 1
