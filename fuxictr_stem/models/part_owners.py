"""Which task owns each table, gate and expert of a model."""

from __future__ import annotations

from fuxictr_stem.layers import ExpertLayer, expert_owner

SHARED = "shared"


def stream_owners(labels: list[str], count: int) -> list[str | None]:
    """Return whose each of T or T + 1 tables or gates is; None for a single one, which serves all tasks."""
    owners: list[str | None] = [*labels, SHARED]
    return [None] if count == 1 else owners[:count]


def expert_names(layer: ExpertLayer, labels: list[str]) -> tuple[list[str], list[str]]:
    """Return the owner and the name (``like.2``, ``shared.1``) of each expert of a layer."""
    specific = layer.specific_experts.num_groups // layer.num_tasks
    slots = expert_owner(layer.num_tasks, specific, layer.shared_experts.num_groups)
    owners = [[*labels, SHARED][slot] for slot in slots.tolist()]
    names = [f"{owner}.{owners[: i + 1].count(owner)}" for i, owner in enumerate(owners)]
    return owners, names
