"""Which task owns each table, gate and expert of a model."""

from __future__ import annotations

from fuxictr_stem.layers import ExpertLayer, GateBank, expert_owner

SHARED = "shared"


def stream_names(labels: list[str], count: int) -> list[str]:
    """Return whom T or T + 1 tables or gates belong to: the tasks, then, where there is one more, all."""
    return [*labels, SHARED][:count]


def gate_owners(bank: GateBank, labels: list[str]) -> list[str | None]:
    """Return whose each gate is: a label, ``shared``, or None for a single one that serves all tasks."""
    count = len(bank.output)
    return [None] if count == 1 else [*stream_names(labels, count)]


def expert_names(layer: ExpertLayer, labels: list[str]) -> tuple[list[str], list[str]]:
    """Return the owner and the name (``like.2``, ``shared.1``) of each expert of a layer."""
    specific = layer.specific_experts.num_groups // layer.num_tasks
    slots = expert_owner(layer.num_tasks, specific, layer.shared_experts.num_groups)
    owners = [[*labels, SHARED][slot] for slot in slots.tolist()]
    names = [f"{owner}.{owners[: i + 1].count(owner)}" for i, owner in enumerate(owners)]
    return owners, names
