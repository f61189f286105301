"""What a model's definition demands of its gradients, from the papers, not from the layers' masks.

`compare` holds a model against it and against what `tests.support.mixtures` measures of its gates.

Symbols: T tasks, P parts, Q gates, E experts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple, cast

import numpy as np
from fuxictr.pytorch.models import MultiTaskModel

from fuxictr_stem.analysis.audit import all_units_on, flow_findings, with_values
from fuxictr_stem.analysis.gate_weights import gate_places
from fuxictr_stem.analysis.gradient_flow import Batch, Part, gradient_flow, model_parts
from fuxictr_stem.layers import ExpertLayer, GateBank
from fuxictr_stem.models.aitm import AITM
from fuxictr_stem.models.esmm import ESMM
from fuxictr_stem.models.mmoe import MMoE
from fuxictr_stem.models.part_owners import SHARED, expert_names
from fuxictr_stem.models.ple import PLE
from fuxictr_stem.models.shared_bottom import SharedBottom
from fuxictr_stem.models.stem_al import STEMAL
from fuxictr_stem.models.stemnet import STEMNet
from fuxictr_stem.training.task_loss import model_labels
from fuxictr_stem.training.trackers.gate_means import NamedGates
from tests.support.mixtures import Measured, layer_of, measure

# Gate weights are float32 numbers up to 1, summed over some dozens of experts.
TOLERANCE = 1e-4


class Reach(Enum):
    """Whether a task's loss reaches a part."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class GateDefinition(NamedTuple):
    """Which experts each gate reads in the forward pass and trains in the backward pass, (Q, E)."""

    reads: np.ndarray
    trains: np.ndarray


def compare(model: MultiTaskModel, batch: Batch) -> list[str]:
    """Compare a model with its definition; return a sentence for each thing that differs.

    - Does each task's loss reach what it must reach, and nothing that it must not (`expected_reach`)?
    - Is there a part that no task trains?
    - Does each gate mix as defined: weights that are not negative and sum to 1, each expert counted
      once with its weight, and trained with that weight or not at all?

    Of a model that is not ours the definition is not known: dead parts are found, and gates that are ours
    are checked.
    """
    with all_units_on(model):
        flow = gradient_flow(model, batch)
    reach = np.array(expected_reach(model, model_parts(model)))
    optional = (reach != Reach.YES).all(axis=0)
    findings = flow_findings(flow, reach == Reach.YES, reach == Reach.NO, optional)
    for place in gate_places(model):
        measured = measure(model, batch, place)
        # Gates that are never asked are dead parts, which are reported above.
        if measured is not None:
            findings += _gate_findings(model, place, measured)
    return findings


def kind_and_layer(part: Part) -> tuple[str | None, int | None]:
    """Return what a part is, or None if it is none of ours, and the number of its layer from 0."""
    kinds = "table|expert|gate|bottom|tower|transfer|attention"
    match = re.match(rf"(?:layer (\d+) )?({kinds})\b", part.name)
    if match is None:
        return None, None
    return match[2], int(match[1]) - 1 if match[1] else None


def expected_reach(model: MultiTaskModel, parts: Sequence[Part]) -> list[list[Reach]]:
    """Return what the model's definition says of each task's loss and each part, T lists of P.

    - STEMNet, STEMAL (arXiv 2308.13537): own and shared, and nothing of another task, at any depth.
    - MMoE, OMoE, MEMMoE (KDD 2018): all experts; of gates, tables and towers one's own and the shared.
    - PLE, MEPLE (RecSys 2020): in the last layer own and shared; below a layer whose shared gate
      reads all experts, everything.
    - AITM (KDD 2021): the tasks before, too, which hand on what they know.
    - ESMM (SIGIR 2018): the conversion's loss both towers, the click's its own.
    - SharedBottom: everything but the other towers.

    Models that are not ours are unknown, and so are parts that another package adds to ours.
    """
    labels = model_labels(model)
    rules: list[tuple[type, Callable[[MultiTaskModel, str, Part], bool]]] = [
        (STEMNet, _own_or_shared),
        (PLE, _ple),
        (MMoE, _mmoe),
        (AITM, _aitm),
        (ESMM, _esmm),
        (SharedBottom, _own_or_shared),
    ]
    rule = next((rule for kind, rule in rules if isinstance(model, kind)), None)

    def reach(label: str, part: Part) -> Reach:
        if rule is None or kind_and_layer(part)[0] is None:
            return Reach.UNKNOWN
        return Reach.YES if rule(model, label, part) else Reach.NO

    return [[reach(label, part) for part in parts] for label in labels]


def gate_definition(model: MultiTaskModel, place: NamedGates) -> GateDefinition:
    """Return what the gates at a place of a model read and train by its definition.

    PLE's shared gate, whose definitions differ, and the gates of models that are not ours say themselves
    what they read.
    """
    gates, declared = place.gates, place.reads()
    layer = layer_of(model, place)
    owners = expert_names(layer, model_labels(model))[0] if layer else [None] * len(place.experts)
    own = np.array([[expert in (gate, SHARED) for expert in owners] for gate in gates])
    if isinstance(model, STEMNet):
        auxiliary = model.auxiliary_labels if isinstance(model, STEMAL) else []
        helped = np.array([gate not in auxiliary for gate in gates])
        return GateDefinition(reads=own | helped[:, None], trains=own)
    if isinstance(model, PLE):
        shared = np.array([gate == SHARED for gate in gates])
        reads = np.where(shared[:, None], declared, own)
        return GateDefinition(reads, reads)
    if isinstance(model, MMoE):
        return GateDefinition(np.ones_like(own), np.ones_like(own))
    return GateDefinition(declared, place.bank.train_mask.bool().cpu().numpy())


def _own_or_shared(model: MultiTaskModel, label: str, part: Part) -> bool:
    return part.owner in (label, SHARED, None)


def _mmoe(model: MultiTaskModel, label: str, part: Part) -> bool:
    return kind_and_layer(part)[0] == "expert" or part.owner in (label, SHARED, None)


def _ple(model: PLE, label: str, part: Part) -> bool:
    if _own_or_shared(model, label, part):
        return True
    layers = cast("list[ExpertLayer]", list(model.experts.layers))
    # From which layer down the shared stream is made of every task's experts.
    mixed = [i for i, layer in enumerate(layers[:-1]) if _shared_gate_reads_all(layer.gates)]
    deepest = max(mixed, default=-1)
    kind, layer = kind_and_layer(part)
    if kind == "table":
        return model.table_per_stream and deepest >= 0
    if kind == "expert":
        return layer is not None and layer <= deepest
    # The gate of another task makes its stream, which counts where that task's experts do above.
    return kind == "gate" and layer is not None and layer < deepest


def _shared_gate_reads_all(bank: GateBank) -> bool:
    return len(bank.reads[-1]) == bank.num_experts


def _aitm(model: AITM, label: str, part: Part) -> bool:
    place = model.labels.index(label)
    kind, _ = kind_and_layer(part)
    if kind == "attention":
        return place > 0
    if kind in ("bottom", "transfer") and part.owner is not None:
        return model.labels.index(part.owner) <= place
    return _own_or_shared(model, label, part)


def _esmm(model: ESMM, label: str, part: Part) -> bool:
    return label == model.conversion_label or _own_or_shared(model, label, part)


def _gate_findings(model: MultiTaskModel, at: NamedGates, found: Measured) -> Iterator[str]:
    defined = gate_definition(model, at)
    for q, owner in enumerate(at.gates):
        place = f"{at.name[0].upper()}{at.name[1:]}, {'the gate' if owner == 'all' else f'gate {owner}'}: "
        leak = _LEAK if isinstance(model, STEMNet) and owner == SHARED else ""
        for text in _weight_findings(at, found, defined.reads[q], q):
            yield place + text
        for text in _trained_findings(at, found, defined.trains[q], q, leak):
            yield place + text


_LEAK = (
    " Through the shared stream every task's loss flows on into experts of the others, as with the "
    "published isolate_shared_gate: False."
)


def _weight_findings(at: NamedGates, found: Measured, reads: np.ndarray, q: int) -> Iterator[str]:
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
            f"times: {with_values([at.experts[e] for e in np.flatnonzero(wrong)], times.tolist())}."
        )
    off = np.abs(found.of_ones[q] - 1)
    if off.max() > TOLERANCE:
        worst = found.of_ones[q][off.argmax()]
        yield f"the mixture of experts that are all 1 must be 1, but is up to {worst:.4g}."


def _trained_findings(
    at: NamedGates, found: Measured, trains: np.ndarray, q: int, leak: str
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


def _names(at: NamedGates, chosen: np.ndarray) -> str:
    return ", ".join(at.experts[e] for e in np.flatnonzero(chosen))


def _mean(values: np.ndarray, chosen: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in values.mean(axis=0)[chosen])
