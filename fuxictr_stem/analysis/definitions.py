"""What a model's definition demands of its gradients, from the papers, not from the layers' masks.

Symbols: T tasks, P parts, Q gates, E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, cast

import numpy as np
from fuxictr.pytorch.models import MultiTaskModel

from fuxictr_stem.analysis.model_parts import SHARED, Part, model_labels
from fuxictr_stem.layers import ExpertLayer, GateBank
from fuxictr_stem.models.aitm import AITM
from fuxictr_stem.models.esmm import ESMM
from fuxictr_stem.models.mmoe import MMoE
from fuxictr_stem.models.ple import PLE
from fuxictr_stem.models.shared_bottom import SharedBottom
from fuxictr_stem.models.stem_al import STEMAL
from fuxictr_stem.models.stemnet import STEMNet


class Reach(Enum):
    """Whether a task's loss reaches a part."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class GateDefinition(NamedTuple):
    """Which experts each gate reads in the forward pass and trains in the backward pass, (Q, E)."""

    reads: np.ndarray
    trains: np.ndarray


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
    known = ("table", "expert", "gate", "bottom", "tower", "transfer")

    def reach(label: str, part: Part) -> Reach:
        if rule is None or part.kind not in known and not part.kind.startswith("attention."):
            return Reach.UNKNOWN
        return Reach.YES if rule(model, label, part) else Reach.NO

    return [[reach(label, part) for part in parts] for label in labels]


def gate_definition(
    model: MultiTaskModel,
    bank: GateBank,
    gates: Sequence[str | None],
    experts: Sequence[str | None],
) -> GateDefinition:
    """Return what the gates of a model read and train by its definition.

    Args:
        model: The model.
        bank: Its gates; of PLE's shared gate, whose definitions differ, and of models that are not
            ours, they say themselves what they read.
        gates: Whose each gate is: a label, ``shared`` or None, Q.
        experts: Whose each expert is, E.
    """
    own = np.array([[expert in (gate, SHARED) for expert in experts] for gate in gates])
    declared = np.zeros_like(own)
    for row, slots in zip(declared, bank.reads, strict=True):
        row[slots] = True
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
    return GateDefinition(declared, bank.train_mask.bool().cpu().numpy())


def _own_or_shared(model: MultiTaskModel, label: str, part: Part) -> bool:
    return part.owner in (label, SHARED, None)


def _mmoe(model: MultiTaskModel, label: str, part: Part) -> bool:
    return part.kind == "expert" or part.owner in (label, SHARED, None)


def _ple(model: PLE, label: str, part: Part) -> bool:
    if _own_or_shared(model, label, part):
        return True
    layers = cast("list[ExpertLayer]", list(model.experts.layers))
    # From which layer down the shared stream is made of every task's experts.
    mixed = [i for i, layer in enumerate(layers[:-1]) if _shared_gate_reads_all(layer.gates)]
    deepest = max(mixed, default=-1)
    if part.kind == "table":
        return model.num_tables() > 1 and deepest >= 0
    if part.kind == "expert":
        return part.layer is not None and part.layer <= deepest
    # The gate of another task makes its stream, which counts where that task's experts do above.
    return part.kind == "gate" and part.layer is not None and part.layer < deepest


def _shared_gate_reads_all(bank: GateBank) -> bool:
    return len(bank.reads[-1]) == bank.num_experts


def _aitm(model: AITM, label: str, part: Part) -> bool:
    place = model.labels.index(label)
    if part.kind.startswith("attention."):
        return place > 0
    if part.kind in ("bottom", "transfer") and part.owner is not None:
        return model.labels.index(part.owner) <= place
    return _own_or_shared(model, label, part)


def _esmm(model: ESMM, label: str, part: Part) -> bool:
    return label == model.conversion_label or _own_or_shared(model, label, part)
