"""The gradient-flow audit: what a model's definition demands against what is measured.

Symbols: T tasks, P parts, B batch, Q gates, E experts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor, nn

from fuxictr_stem.analysis.definitions import Reach, expected_reach, gate_definition
from fuxictr_stem.analysis.gradient_flow import Batch, norms
from fuxictr_stem.analysis.mixtures import Measured, Mixture, find_mixtures, measure
from fuxictr_stem.analysis.model_parts import SHARED, model_labels, model_parts
from fuxictr_stem.models.stemnet import STEMNet

# Gate weights are float32 numbers up to 1, summed over some dozens of experts.
TOLERANCE = 1e-4


def audit(model: MultiTaskModel, batch: Batch) -> list[str]:
    """Compare a model with its definition; return a sentence for each thing that differs.

    Three questions are asked:

    - Does each task's loss reach what it must reach, and nothing that it must not (`expected_reach`)?
      ReLU units pass gradients here also where they are off, so that what counts is how the model
      is wired, not which units this batch happens to switch off.
    - Is there a part that no task trains?
    - Does each gate mix as defined: weights that are not negative and sum to 1, each expert counted
      once with its weight, and trained with that weight or not at all?

    Args:
        model: Any of FuxiCTR's multi-task models. Of one that is not ours, the definition is not
            known: dead parts are found, and gates that are ours are checked.
        batch: Columns of features and labels, some dozens of rows.

    Returns:
        The findings; none if all is as defined.
    """
    findings = list(_reach_findings(model, batch))
    for mixture in find_mixtures(model):
        measured = measure(model, batch, mixture)
        # Gates that are never asked are dead parts, which are reported above.
        if measured is not None:
            findings += _mixture_findings(model, mixture, measured)
    return findings


def _reach_findings(model: MultiTaskModel, batch: Batch) -> Iterator[str]:
    parts = model_parts(model)
    with _all_units_on(model):
        measured = norms(model, batch, parts)
    expected = expected_reach(model, parts)
    for label, own, demands in zip(model_labels(model), measured, expected, strict=True):
        if not own.any():
            yield (
                f"The loss of {label} reaches nothing at all. If the batch holds no sample of this "
                f"task, audit another batch."
            )
            continue
        pairs = list(zip(parts, own.tolist(), demands, strict=True))
        missed = [part.name for part, norm, reach in pairs if reach is Reach.YES and norm == 0]
        if missed:
            yield (
                f"The loss of {label} does not reach {', '.join(missed)}: measured gradient norm "
                f"0, expected more than 0."
            )
        leaks = [(p.name, norm) for p, norm, reach in pairs if reach is Reach.NO and norm != 0]
        if leaks:
            names, values = zip(*leaks, strict=True)
            yield (
                f"The loss of {label} reaches {_describe(names, values)}: measured gradient norms "
                f"in brackets, expected exactly 0."
            )
    for i, part in enumerate(parts):
        if all(row[i] is not Reach.YES for row in expected) and not measured[:, i].any():
            yield f"No task's loss reaches {part.name}: it is a dead part, which nothing trains."


def _mixture_findings(model: MultiTaskModel, at: Mixture, found: Measured) -> Iterator[str]:
    defined = gate_definition(model, at.bank, at.gates, at.owners)
    for q, owner in enumerate(at.gates):
        place = f"{at.name[0].upper()}{at.name[1:]}, {f'gate {owner}' if owner else 'the gate'}: "
        leak = _LEAK if isinstance(model, STEMNet) and owner == SHARED else ""
        for text in _weight_findings(at, found, defined.reads[q], q):
            yield place + text
        for text in _trained_findings(at, found, defined.trains[q], q, leak):
            yield place + text


_LEAK = (
    " Through the shared stream every task's loss flows on into experts of the others, as with the "
    "published isolate_shared_gate: False."
)


def _weight_findings(at: Mixture, found: Measured, reads: np.ndarray, q: int) -> Iterator[str]:
    weights, counted = found.weights[q], found.counted[q]
    if weights.min() < 0:
        yield f"its weights must not be negative, but the smallest is {weights.min():.4g}."
    total = weights.sum(axis=1)
    if np.abs(total - 1).max() > TOLERANCE:
        worst = total[np.abs(total - 1).argmax()]
        yield f"its weights must sum to 1 for each sample, but sum to up to {worst:.4g}."
    for text, wrong in (
        ("must read", reads & ~weights.any(axis=0)),
        ("must not read", ~reads & weights.any(axis=0)),
    ):
        if wrong.any():
            names = _names(at, wrong)
            yield f"it {text} expert {names}, but the mean weight is {_mean(weights, wrong)}."
    wrong = np.abs(counted - weights).max(axis=0) > TOLERANCE
    if wrong.any():
        times = counted.sum(axis=0)[wrong] / np.maximum(weights.sum(axis=0)[wrong], 1e-12)
        yield (
            f"each expert must count once, with its weight, but its weight is counted this many "
            f"times: {_describe([at.experts[e] for e in np.flatnonzero(wrong)], times.tolist())}."
        )
    off = np.abs(found.of_ones[q] - 1)
    if off.max() > TOLERANCE:
        worst = found.of_ones[q][off.argmax()]
        yield f"the mixture of experts that are all 1 must be 1, but is up to {worst:.4g}."


def _trained_findings(
    at: Mixture, found: Measured, trains: np.ndarray, q: int, leak: str
) -> Iterator[str]:
    weights, trained = found.weights[q], found.trained[q]
    missed = trains & (np.abs(trained - weights).max(axis=0) > TOLERANCE)
    if missed.any():
        yield (
            f"it must train expert {_names(at, missed)}: measured mean gradient "
            f"{_mean(trained, missed)}, expected its weight, {_mean(weights, missed)}."
        )
    # Where nothing may flow, the smallest gradient is one too many.
    leaked = ~trains & trained.any(axis=0)
    if leaked.any():
        yield (
            f"it must not train expert {_names(at, leaked)}: measured mean gradient "
            f"{_mean(trained, leaked)}, expected exactly 0.{leak}"
        )


def _names(at: Mixture, chosen: np.ndarray) -> str:
    return ", ".join(at.experts[e] for e in np.flatnonzero(chosen))


def _mean(values: np.ndarray, chosen: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in values.mean(axis=0)[chosen])


def _describe(names: Sequence[str], values: Sequence[float]) -> str:
    """Return names with their values, at most four of them."""
    shown = [f"{name} ({value:.3g})" for name, value in zip(names, values, strict=True)]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


@contextmanager
def _all_units_on(model: MultiTaskModel) -> Iterator[None]:
    """Let gradients pass ReLU units that are off; values stay as they are."""
    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                hooks.callback(module.register_forward_hook(_straight_through).remove)
        yield


def _straight_through(module: nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
    return args[0] + (out - args[0]).detach()
