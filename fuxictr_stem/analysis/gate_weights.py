"""Which experts the gates listen to: mean gate weights, also by slice, in one pass over the data.

Symbols: N samples, Q gates, E experts, S slices, B batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from fuxictr.pytorch.models import MultiTaskModel
from numpy.typing import ArrayLike
from torch import Tensor, nn

from fuxictr_stem.analysis.gradient_flow import undisturbed
from fuxictr_stem.analysis.slices import slice_numbers
from fuxictr_stem.errors import DataError
from fuxictr_stem.layers import ExpertLayer, GateBank
from fuxictr_stem.models.part_owners import expert_names, stream_owners
from fuxictr_stem.training.evaluation import Batches
from fuxictr_stem.training.task_loss import model_labels
from fuxictr_stem.training.trackers.gate_means import NamedGates


@dataclass(frozen=True)
class GateWeights:
    """The weights of the gates at one place of a model."""

    place: str  # the place, such as ``layer 1``, or ``gates`` where there is one only
    # Whose each gate is: a label, ``shared``, or ``all`` where one serves all tasks, Q.
    gates: list[str]
    experts: list[str]  # names of the experts, such as ``like.2``, ``shared.1`` or ``3``, E
    # (Q, E) whether the gate reads the expert at all; the weight is exactly 0 otherwise.
    reads: np.ndarray
    mean: np.ndarray  # (Q, E) mean weight over the samples; a row sums to 1
    std: np.ndarray  # (Q, E) standard deviation over the samples, with N in the denominator
    samples: int  # N
    slice_samples: np.ndarray  # (S,) samples of each slice; S is 0 without slices
    slice_mean: np.ndarray  # (S, Q, E) mean weight over a slice's samples; NaN where it has none
    slice_std: np.ndarray  # (S, Q, E) its standard deviation


def gate_weights(
    model: MultiTaskModel,
    batches: Batches,
    slices: ArrayLike | None = None,
    num_slices: int | None = None,
) -> list[GateWeights]:
    """Average the gate weights of a model over the samples of one pass, in evaluation order.

    ``slices`` holds the number of each sample's slice, (N,). The result has an entry for each place whose
    gates the model uses. Mode, weights and random state stay as they are; memory does not grow with the
    samples.

    Raises:
        DataError: If there is no sample, or not exactly one slice number per sample.
    """
    numbers, count = np.zeros(0, np.int64), 0
    if slices is not None:
        numbers, count = slice_numbers("slices", slices, num_slices)
    # By place: sums of weights and of their squares, and samples, of each slice and last of all.
    sums: dict[NamedGates, np.ndarray] = {}
    counts: dict[NamedGates, np.ndarray] = {}
    rows = 0

    def add(place: NamedGates, weights_BQE: np.ndarray) -> None:
        of_batch = numbers[rows : rows + len(weights_BQE)]
        parts = [*(weights_BQE[of_batch == number] for number in range(count)), weights_BQE]
        of_parts = np.array([[w.sum(axis=0), np.square(w).sum(axis=0)] for w in parts])
        sums[place] = sums.get(place, 0) + of_parts
        counts[place] = counts.get(place, 0) + np.array([len(weights) for weights in parts])

    with _watched(model, add):
        for batch in batches:
            size = len(next(iter(batch.values())))
            if slices is not None and rows + size > len(numbers):
                raise _wrong_number(len(numbers), "more")
            model(batch)
            rows += size
    if not rows:
        raise DataError("The gates cannot be averaged: the batches hold no sample.")
    if slices is not None and rows < len(numbers):
        raise _wrong_number(len(numbers), str(rows))
    return [_averages(place, of_place, counts[place], rows) for place, of_place in sums.items()]


def gate_weights_by_row(
    model: MultiTaskModel, batches: Batches
) -> list[tuple[NamedGates, np.ndarray]]:
    """Return the gate weights of every sample of one pass; as `gate_weights`, which averages them.

    Returns:
        Each place whose gates the model uses, and its weights, (N, Q, E) float32.
    """
    parts: dict[NamedGates, list[np.ndarray]] = defaultdict(list)
    with _watched(model, lambda place, weights: parts[place].append(weights.astype(np.float32))):
        for batch in batches:
            model(batch)
    return [(place, np.concatenate(weights)) for place, weights in parts.items()]


@contextmanager
def _watched(
    model: MultiTaskModel, see: Callable[[NamedGates, np.ndarray], None]
) -> Iterator[None]:
    """Have a function see each place's weights, (B, Q, E), in each batch; the model stays as it is."""

    def watch(place: NamedGates, weights_QBE: Tensor) -> None:
        see(place, weights_QBE.transpose(0, 1).double().cpu().numpy())

    with undisturbed(model), torch.no_grad(), ExitStack() as stack:
        for place in gate_places(model):
            stack.enter_context(place.watched(partial(watch, place)))
        yield


def gate_places(model: MultiTaskModel) -> Iterator[NamedGates]:
    """Yield every place where a model's gates mix experts, in the model's order."""
    labels = model_labels(model)
    inside: set[nn.Module] = set()
    for path, module in model.named_modules():
        if isinstance(module, ExpertLayer):
            inside.add(module.gates)
            number = path.rpartition(".")[2]
            name = f"layer {int(number) + 1}" if number.isdigit() else path
            bank, (_, experts) = module.gates, expert_names(module, labels)
        elif isinstance(module, GateBank) and module not in inside:
            experts = [str(number) for number in range(1, module.num_experts + 1)]
            name, bank = path, module
        else:
            continue
        owners = [owner or "all" for owner in stream_owners(labels, len(bank.output))]
        yield NamedGates(name, bank, owners, experts)


def _averages(place: NamedGates, sums: np.ndarray, counts: np.ndarray, samples: int) -> GateWeights:
    """Return means and deviations from sums of weights and of their squares, (S + 1, 2, Q, E)."""
    with np.errstate(invalid="ignore"):
        mean, square = (sums / counts[:, None, None, None]).swapaxes(0, 1)
    std = np.sqrt(np.maximum(square - np.square(mean), 0))
    return GateWeights(
        place=place.name,
        gates=place.gates,
        experts=place.experts,
        reads=place.reads(),
        mean=mean[-1],
        std=std[-1],
        samples=samples,
        slice_samples=counts[:-1],
        slice_mean=mean[:-1],
        slice_std=std[:-1],
    )


def _wrong_number(slices: int, samples: str) -> DataError:
    return DataError(
        f"slices must hold one number per sample, but has {slices}, and the batches hold {samples} "
        f"samples. Take the slices of this very split, in its order."
    )
