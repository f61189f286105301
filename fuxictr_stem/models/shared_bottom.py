"""Shared bottom (Caruana 1997): one table, one bottom MLP, a tower a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.layers import GroupedMLP
from fuxictr_stem.layers.grouped import Activations
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.features import DEFAULT_INITIALIZER, TaskEmbedding


class SharedBottom(MultiTaskNet):
    """``y_i = activation(tower_i(bottom(x)))``; with one task, the single-task model.

    Args:
        feature_map: FuxiCTR's description of the features.
        embedding_dim: Width of an embedding.
        bottom_hidden_units: Widths of the bottom's layers, each with an activation.
        tower_hidden_units: Widths of a tower's hidden layers.
        hidden_activations: FuxiCTR's name of the activation, or one a hidden layer.
        net_dropout: Dropout of bottom and towers, or one a hidden layer.
        batch_norm: Whether their hidden layers are batch-normalised.
        embedding_initializer: FuxiCTR's expression of the table's initializer.
        params: As in `MultiTaskNet`.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        embedding_dim: int = 10,
        bottom_hidden_units: Sequence[int] = (64, 64, 64),
        tower_hidden_units: Sequence[int] = (64,),
        hidden_activations: Activations = "ReLU",
        net_dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = False,
        embedding_initializer: str = DEFAULT_INITIALIZER,
        **params: Any,
    ) -> None:
        super().__init__(feature_map, **params)
        mlp: dict[str, Any] = {
            "hidden_activations": hidden_activations,
            "dropout_rates": net_dropout,
            "batch_norm": batch_norm,
        }
        self.embedding_layer = TaskEmbedding(feature_map, embedding_dim, 1, embedding_initializer)
        self.bottom = GroupedMLP(1, self.embedding_layer.output_dim, bottom_hidden_units, **mlp)
        self.towers = GroupedMLP(
            self.num_tasks, self.bottom.output_dim, tower_hidden_units, output_dim=1, **mlp
        )
        self.finish()

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict every task: a batch of columns to ``{label}_pred``, (B, 1) each."""
        x_1BI = self.embedding_layer(self.get_inputs(inputs))
        return self.named_predictions(self.towers(self.bottom(x_1BI)))
