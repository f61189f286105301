"""AITM: adaptive information transfer along a sequence of tasks (Xi et al., KDD 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from fuxictr.features import FeatureMap
from torch import Tensor, nn

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.layers import GroupedMLP
from fuxictr_stem.models.base import MultiTaskNet


class AITM(MultiTaskNet):
    """A bottom and a tower a task; each task attends to what the task before it hands on.

    The tasks are a sequence, in the order of ``task_labels``: impression to click to purchase. With
    ``q_i = bottom_i(x)``, ``z_0 = q_0`` and ``p_i = g_i(z_{i-1})``::

        z_i = sum_{u in (p_i, q_i)} softmax_u( <key(u), query(u)> / sqrt(H) ) value(u)

    Args:
        feature_map: FuxiCTR's description of the features.
        bottom_hidden_units: Widths of a bottom's layers, each with an activation; the last is H.
        calibrator_weight: Weight of the behavioural expectation calibrator, the mean of
            ``max(y_i - y_{i-1}, 0)`` summed over the tasks, in the loss. The paper uses 0.6, the
            published code of STEM has none (0).
        params: As in `MultiTaskNet`.

    Raises:
        ConfigError: If the calibrator is to compare predictions that are no probabilities.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        bottom_hidden_units: Sequence[int] = (64, 64, 64),
        calibrator_weight: float = 0.0,
        **params: Any,
    ) -> None:
        super().__init__(feature_map, **params)
        if calibrator_weight and "regression" in self.tasks.values():
            raise ConfigError(
                f"calibrator_weight is {calibrator_weight}, but it compares probabilities and there "
                f"is a regression task. Set it to 0, or leave that label out by task_labels."
            )
        self.calibrator_weight = calibrator_weight
        width = self.embed(1)
        self.bottoms = GroupedMLP(self.num_tasks, width, bottom_hidden_units, **self.mlp)
        width = self.bottoms.output_dim
        # With one task there is nothing to hand on.
        pairs = self.num_tasks - 1
        self.transfers = nn.ModuleList(nn.Linear(width, width) for _ in range(pairs))
        self.attention = nn.ModuleDict(
            {part: nn.Linear(width, width) for part in ("value", "key", "query") if pairs}
        )
        self.finish(width)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict every task: a batch of columns to ``{label}_pred``, (B, 1) each."""
        own_TBH = self.bottoms(self.embedded(inputs))
        outputs = [own_TBH[0]]
        for transfer, own_BH in zip(self.transfers, own_TBH[1:], strict=True):
            outputs.append(self._attend(torch.stack([transfer(outputs[-1]), own_BH])))
        return self.predictions(torch.stack(outputs))

    def _attend(self, u_2BH: Tensor) -> Tensor:
        """Weigh what was handed on against the task's own: (2, B, H) to (B, H)."""
        key, query = self.attention["key"](u_2BH), self.attention["query"](u_2BH)
        scores = (key * query).sum(dim=-1, keepdim=True) / u_2BH.shape[-1] ** 0.5
        return (torch.softmax(scores, dim=0) * self.attention["value"](u_2BH)).sum(dim=0)

    def add_loss(self, return_dict: dict[str, Tensor], y_true: list[Tensor]) -> Tensor:
        """Return the sum of the tasks' losses, and of the calibrator's where it has a weight."""
        loss = super().add_loss(return_dict, y_true)
        if self.calibrator_weight:
            pred_TB1 = torch.stack([return_dict[f"{label}_pred"] for label in self.labels])
            above = torch.relu(pred_TB1[1:] - pred_TB1[:-1])
            loss = loss + self.calibrator_weight * above.mean(dim=1).sum()
        return loss
