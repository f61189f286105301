"""Gradient balancing: the tasks' gradients of the weights that they share, combined by `torchjd`.

Only dense parameters are balanced, never tables, and of them only the rows (along the first dimension:
an expert of a stack, a unit) that the losses of at least two tasks reach. All else keeps the plain sum.

Symbols: T tasks, P numbers that are balanced.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fuxictr_stem.errors import Problem, choice_problems, raise_first

_INSTALL = 'pip install "torchjd[quadprog-projector,cagrad]"'


class Method(NamedTuple):
    """How an aggregator is made, and what makes a sum of it."""

    arguments: dict[str, Any]
    # Factor, by the number of gradients, with which equal gradients give their sum: learning rate and
    # tables then mean the same as without balancing.
    scale: Callable[[int], float]


# The radius of the paper's NYU-v2 experiment (Liu et al., NeurIPS 2021).
_CAGRAD_C = 0.4

_SUM, _MEAN = Method({}, lambda count: 1.0), Method({}, float)
# Aggregators of torchjd that need no argument and treat the tasks alike, and Sum to compare with.
METHODS = {
    "AlignedMTL": _MEAN,
    # Equal gradients g give (1 + c) g.
    "CAGrad": Method({"c": _CAGRAD_C}, lambda count: count / (1 + _CAGRAD_C)),
    "ConFIG": _SUM,
    "DualProj": _MEAN,
    "GradDrop": _SUM,
    "IMTLG": _MEAN,
    "MGDA": _MEAN,
    "PCGrad": _SUM,
    "Sum": _SUM,
    "UPGrad": _MEAN,
}


def _aggregator(name: str) -> Any:
    return getattr(importlib.import_module("torchjd.aggregation"), name)(**METHODS[name].arguments)


def balancing_problems(name: str | None) -> Iterator[Problem]:
    """Yield why gradients cannot be balanced by a method; None is no balancing."""
    key = "gradient_balancing"
    if name is not None and name not in METHODS:
        yield from choice_problems(key, name, METHODS, "null")
    elif name is not None:
        try:
            _aggregator(name)
        except ImportError as error:
            text = f"{name} balances gradients by packages that are not installed ({error})."
            yield Problem(key, text, f"Run: {_INSTALL}")


class GradientBalancer:
    """Combines the tasks' gradients of shared parameters by one of `METHODS`; ``Sum`` changes nothing."""

    def __init__(self, name: str) -> None:
        raise_first(balancing_problems(name))
        self.aggregator, self.scale = _aggregator(name), METHODS[name].scale

    def combine(self, gradients_TP: Tensor) -> Tensor:
        """Combine gradients, (T, P) to (P,); equal ones give their sum.

        A gradient of zeros, such as of a task without a sample in the batch, takes no part: it has no
        say, while MGDA would stop at it.
        """
        gradients_TP = gradients_TP[(gradients_TP != 0).any(dim=1)]
        if len(gradients_TP) < 2:
            return gradients_TP.sum(dim=0)
        return self.scale(len(gradients_TP)) * self.aggregator(gradients_TP)

    def corrections(
        self,
        losses_T: Tensor,
        parameters: Sequence[nn.Parameter],
        add_up: Callable[[list[Tensor]], None] | None = None,
    ) -> list[Tensor]:
        """Return what to add to each parameter's plain gradient; the graph of losses_T is kept.

        Where the losses are of a part of a batch, ``add_up`` makes sums of the parts' gradients in place.
        """
        by_task = [
            torch.autograd.grad(
                loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for loss in losses_T
        ]
        # (T, rows, numbers of a row) for each parameter.
        gradients = [
            torch.stack(of_tasks).reshape(len(losses_T), *_as_rows(parameter))
            for parameter, of_tasks in zip(parameters, zip(*by_task, strict=True), strict=True)
        ]
        if add_up is not None:
            add_up(gradients)
        shared = [(of_part != 0).any(dim=2).sum(dim=0) >= 2 for of_part in gradients]
        pairs = zip(gradients, shared, strict=True)
        parts = [of_part[:, rows].flatten(1) for of_part, rows in pairs]
        gradients_TP = torch.cat(parts, dim=1)
        corrections = [
            torch.zeros_like(parameter, memory_format=torch.contiguous_format)
            for parameter in parameters
        ]
        # Training that has diverged is stopped by its loss.
        if not gradients_TP.numel() or not torch.isfinite(gradients_TP).all():
            return corrections
        change_P = self.combine(gradients_TP) - gradients_TP.sum(dim=0)
        changes = change_P.split([part.shape[1] for part in parts])
        for correction, rows, change in zip(corrections, shared, changes, strict=True):
            by_row = correction.view(_as_rows(correction))
            by_row[rows] = change.view(by_row[rows].shape)
        return corrections


def _as_rows(parameter: Tensor) -> tuple[int, int]:
    """Return a parameter's rows and the numbers in each; a single number, of no dimension, is one row."""
    rows = len(parameter) if parameter.dim() else 1
    return rows, parameter.numel() // max(rows, 1)
