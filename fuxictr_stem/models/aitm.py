"""AITM: adaptive information transfer along a sequence of tasks (Xi et al., KDD 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from fuxictr.features import FeatureMap
from torch import Tensor, nn

from fuxictr_stem.errors import Problem, raise_first
from fuxictr_stem.layers import GroupedMLP
from fuxictr_stem.metrics.task_metrics import BINARY
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.nested_labels import ancestors


class AITM(MultiTaskNet):
    """One bottom and one tower per task; each task attends to what the task before it hands on.

    The tasks are a sequence, in the order of ``task_labels``: impression to click to purchase. With
    ``q_i = bottom_i(x)``, ``z_0 = q_0`` and ``p_i = g_i(z_{i-1})``::

        z_i = sum_{u in (p_i, q_i)} softmax_u( <key(u), query(u)> / sqrt(H) ) value(u)

    Args:
        feature_map: FuxiCTR's description of the features.
        bottom_hidden_units: Widths of a bottom's layers, each with an activation; the last is H.
        calibrator_weight: Weight of the behavioural expectation calibrator, the rows' (weighted) mean
            of ``max(y_i - y_{i-1}, 0)`` summed over the tasks, in the loss. The paper uses 0.6, the
            published code of STEM has none (0). It is right only where each label is nested in the one
            before and both are learnt from the same rows: P(conversion | click) may well be above
            P(click).
        params: As in `MultiTaskNet`; ``label_col``, the dataset's labels, says what is nested. Without
            it, the caller vouches for that.

    Raises:
        ConfigError: If the calibrator is to compare predictions that are not probabilities, that are of
            other rows, or of labels that ``label_col`` does not declare nested.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        bottom_hidden_units: Sequence[int] = (64, 64, 64),
        calibrator_weight: float = 0.0,
        **params: Any,
    ) -> None:
        super().__init__(feature_map, **params)
        params |= {"task_labels": self.labels, "task": list(self.tasks.values())}
        raise_first(self.params_problems({**params, "calibrator_weight": calibrator_weight}))
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

    @staticmethod
    def params_problems(params: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield the first reason against the calibrator; ``task_labels`` and ``task`` are lists."""
        weight = params.get("calibrator_weight")
        if not weight:
            return
        key, no_calibrator = "calibrator_weight", "set calibrator_weight: 0"
        if set(params["task"]) != {BINARY}:
            yield Problem(
                key,
                f"is {weight}, but it compares probabilities and there is a regression task.",
                f"Leave that label out by task_labels, or {no_calibrator}.",
            )
            return
        spaces, declared = params.get("sample_spaces") or {}, params.get("label_col") or []
        for before, label in pairwise(params["task_labels"]):
            rows = [
                f"where {spaces[name]!r} is 1" if name in spaces else "everywhere"
                for name in (before, label)
            ]
            if rows[0] != rows[1]:
                yield Problem(
                    key,
                    f"is {weight}, and would penalise a probability of {label!r} above that of {before!r}. "
                    f"But by sample_spaces {before!r} is learnt {rows[0]} and {label!r} {rows[1]}, so "
                    f"that may be right.",
                    f"Give both the same sample space, or {no_calibrator}.",
                )
                return
            if declared and before not in ancestors(declared, label):
                yield Problem(
                    key,
                    f"is {weight}, and would penalise a probability of {label!r} above that of {before!r}, "
                    f"the label before it in task_labels. But {label!r} is not declared nested in "
                    f"{before!r}, so that may be right.",
                    f"If it is, give it `parent: {before}` in label_col. If not, {no_calibrator}.",
                )
                return

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict every task: a batch of columns to ``{label}_pred``, (B, 1) each."""
        bottoms_TBH = self.bottoms(self.embedded(inputs))
        outputs = [bottoms_TBH[0]]
        for transfer, bottom_BH in zip(self.transfers, bottoms_TBH[1:], strict=True):
            outputs.append(self._attend(torch.stack([transfer(outputs[-1]), bottom_BH])))
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
            above_TB1 = torch.relu(pred_TB1[1:] - pred_TB1[:-1])
            weight_B1, share = getattr(y_true, "weight", None), self.batch_share
            if weight_B1 is None and share is None:
                mean_T1 = above_TB1.mean(dim=1)
            else:
                weight_B1 = torch.ones_like(y_true[0]) if weight_B1 is None else weight_B1
                total = weight_B1.sum() if share is None else share.rows
                mean_T1 = (weight_B1 * above_TB1).sum(dim=1) / torch.where(total > 0, total, 1)
            loss = loss + self.calibrator_weight * mean_T1.sum()
        return loss
