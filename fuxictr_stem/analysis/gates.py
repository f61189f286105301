"""Which experts the gates listen to: mean gate weights, also by slice, in one pass over the data.

Symbols: N samples, Q gates, E experts, S slices, B batch.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from fuxictr.pytorch.models import MultiTaskModel
from numpy.typing import ArrayLike
from torch import Tensor

from fuxictr_stem.analysis.gradient_flow import undisturbed
from fuxictr_stem.analysis.mixtures import Mixture, find_mixtures, watch_inputs
from fuxictr_stem.analysis.model_parts import model_labels
from fuxictr_stem.analysis.slices import slice_numbers
from fuxictr_stem.errors import DataError
from fuxictr_stem.training.evaluation import Batches


@dataclass(frozen=True)
class GateWeights:
    """The weights of the gates at one place of a model.

    Attributes:
        place: The place, such as ``layer 1``, or ``gates`` where there is one only.
        gates: Whose each gate is: a label, ``shared``, or ``all`` where one serves all tasks, Q.
        experts: Names of the experts, such as ``like.2``, ``shared.1`` or ``3``, E.
        reads: (Q, E) whether the gate reads the expert at all; the weight is exactly 0 otherwise.
        mean: (Q, E) mean weight over the samples; a row sums to 1.
        std: (Q, E) standard deviation over the samples, with N in the denominator.
        samples: N.
        slice_samples: (S,) samples of each slice; S is 0 without slices.
        slice_mean: (S, Q, E) mean weight over a slice's samples; NaN where it has none.
        slice_std: (S, Q, E) its standard deviation.
    """

    place: str
    gates: list[str]
    experts: list[str]
    reads: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    samples: int
    slice_samples: np.ndarray
    slice_mean: np.ndarray
    slice_std: np.ndarray


def gate_weights(
    model: MultiTaskModel,
    batches: Batches,
    slices: ArrayLike | None = None,
    num_slices: int | None = None,
) -> list[GateWeights]:
    """Average the gate weights of a model over the samples of one pass.

    Mode, weights and random state of the model stay as they are; memory does not grow with the
    samples.

    Args:
        model: The model; of those without gates there is nothing to tell.
        batches: Batches of one pass, in evaluation order.
        slices: (N,) number of each sample's slice from 0, in the order of the batches.
        num_slices: S; by default what the samples hold.

    Returns:
        What each place gives whose gates the model asks, in the model's order; empty for a model
        without gates.

    Raises:
        DataError: If there is no sample, or the slices are not one number a sample.
    """
    numbers, count = np.zeros(0, np.int64), 0
    if slices is not None:
        numbers, count = slice_numbers("slices", slices, num_slices)
    sums = [_Sums(mixture, count) for mixture in find_mixtures(model)]
    rows = 0
    with undisturbed(model), torch.no_grad(), ExitStack() as hooks:
        for own in sums:
            hooks.callback(watch_inputs(own.mixture.bank, own.observe).remove)
        for batch in batches:
            size = len(batch[model_labels(model)[0]])
            if slices is not None and rows + size > len(numbers):
                raise _wrong_number(len(numbers), "more")
            model(batch)
            for own in sums:
                own.add(numbers[rows : rows + size])
            rows += size
    if not rows:
        raise DataError("The gates cannot be averaged: the batches hold no sample.")
    if slices is not None and rows < len(numbers):
        raise _wrong_number(len(numbers), str(rows))
    return [own.result(rows) for own in sums if own.inputs is not None]


class _Sums:
    """Sums of the weights and their squares at one place: a row a slice, the last for all samples."""

    def __init__(self, mixture: Mixture, slices: int) -> None:
        self.mixture = mixture
        self.inputs: Tensor | None = None
        shape = (slices + 1, len(mixture.gates), len(mixture.experts))
        self.first, self.second = np.zeros(shape), np.zeros(shape)
        self.rows = np.zeros(slices + 1, np.int64)

    def observe(self, inputs: Tensor) -> None:
        self.inputs = inputs

    def add(self, numbers: np.ndarray) -> None:
        """Add the weights of the batch that was observed last."""
        if self.inputs is None:
            return
        weights = self.mixture.bank.weights(self.inputs).transpose(0, 1).double().cpu().numpy()
        for row in range(len(self.rows)):
            own = weights if row == len(self.rows) - 1 else weights[numbers == row]
            self.first[row] += own.sum(axis=0)
            self.second[row] += np.square(own).sum(axis=0)
            self.rows[row] += len(own)

    def result(self, samples: int) -> GateWeights:
        with np.errstate(invalid="ignore"):
            mean = self.first / self.rows[:, None, None]
            variance = self.second / self.rows[:, None, None] - np.square(mean)
        std = np.sqrt(np.maximum(variance, 0))
        reads = np.zeros(mean.shape[1:], bool)
        for row, slots in zip(reads, self.mixture.bank.reads, strict=True):
            row[slots] = True
        return GateWeights(
            self.mixture.name,
            [owner or "all" for owner in self.mixture.gates],
            self.mixture.experts,
            reads,
            mean[-1],
            std[-1],
            samples,
            self.rows[:-1],
            mean[:-1],
            std[:-1],
        )


def _wrong_number(slices: int, samples: str) -> DataError:
    return DataError(
        f"slices must hold one number a sample, but has {slices}, and the batches hold {samples} "
        f"samples. Take the slices of this very split, in its order."
    )
