"""Shared bottom (Caruana 1997): one table, one bottom MLP, one tower per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.layers import GroupedMLP
from fuxictr_stem.models.base import MultiTaskNet


class SharedBottom(MultiTaskNet):
    """``y_i = activation(tower_i(bottom(x)))``; with one task, the single-task model.

    Args:
        feature_map: FuxiCTR's description of the features.
        bottom_hidden_units: Widths of the bottom's layers, each with an activation.
        params: As in `MultiTaskNet`.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        bottom_hidden_units: Sequence[int] = (64, 64, 64),
        **params: Any,
    ) -> None:
        super().__init__(feature_map, **params)
        width = self.embed(1)
        self.bottom = GroupedMLP(1, width, bottom_hidden_units, **self.mlp)
        self.finish(self.bottom.output_dim)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict every task: a batch of columns to ``{label}_pred``, (B, 1) each."""
        return self.predictions(self.bottom(self.embedded(inputs)))
