"""A model's weights as named parts, so that those of two runs can be matched.

The names say what a part is for: a task by its label, an expert by its task and number. So the parts of two
models of one kind have the same names, whatever the order and number of the tasks. Rows of tables are no
parts; they belong to tokens.

Symbols: T tasks, K tables, D embedding dim, E experts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import nn

from fuxictr_stem.layers import ExpertLayer, GateBank
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.features import FieldLayout
from fuxictr_stem.models.mmoe import OMoE
from fuxictr_stem.models.part_owners import expert_names

EMBEDDING = "embedding_layer"


class WeightPart(NamedTuple):
    """A part of one tensor of a model's state."""

    tensor: str  # the tensor's name
    place: tuple[slice, ...]  # of the part in it; none for a whole tensor
    shape: tuple[int, ...]
    tasks: frozenset[str]  # labels of the tasks without which it would not be there
    optional: bool = False  # whether a model of the same kind and tasks may lack it


class Unit(NamedTuple):
    """One of several things of one shape that lie in one tensor: a table, an expert, a gate, a tower."""

    name: str  # a label in quotes, so that no label is taken for another name
    tasks: frozenset[str] = frozenset()


class _Prefix(NamedTuple):
    """What the names of some tensors begin with."""

    renamed: str  # what their parts' names begin with
    units: Sequence[Unit]  # what lies along their first axis
    tasks: frozenset[str] = frozenset()
    optional: bool = False


_WHOLE = (Unit(""),)
_ELSEWHERE = tuple(
    [f"{EMBEDDING}.{kind}." for kind in ("tables", "pretrained", "numeric")] + ["task_weights."]
)


def streams(labels: Sequence[str], count: int) -> list[Unit]:
    """Return whose each of T or T + 1 tables or gates is; a single table is shared."""
    if count == 1:
        return [Unit("shared")]
    return [*_of_tasks(labels), Unit("shared")][:count]


def weight_parts(model: MultiTaskNet) -> dict[str, WeightPart]:
    """Return a model's weights by part, except for tables, pretrained vectors and the state of ``DWA``."""
    prefixes = dict(_prefixes(model))
    parts: dict[str, WeightPart] = {}
    for name, tensor in model.state_dict().items():
        if name.startswith(_ELSEWHERE):
            continue
        prefix = next((prefix for prefix in prefixes if name.startswith(f"{prefix}.")), "")
        parts |= _cut(name, tuple(tensor.shape), prefix, prefixes.get(prefix, _Prefix("", _WHOLE)))
    parts |= _numeric_parts(model)
    # Learnt weights of the losses; other ways to weigh them have none.
    uncertainties = getattr(model.task_weights, "log_variances", None)
    if uncertainties is not None:
        name = "task_weights.log_variances"
        of_tasks = _Prefix(name, _of_tasks(model.labels), optional=True)
        parts |= _cut(name, tuple(uncertainties.shape), name, of_tasks)
    return parts


def projection_parts(
    layout: FieldLayout, shapes: Mapping[str, Sequence[int]], labels: Sequence[str]
) -> dict[str, WeightPart]:
    """Return the projections of pretrained vectors by part, by the shapes of a model's state."""
    parts: dict[str, WeightPart] = {}
    for number, owner in enumerate(layout.pretrained):
        name = f"{EMBEDDING}.pretrained.{number}.projection.weight"
        if name in shapes:
            tables = streams(labels, shapes[name][0])
            parts |= _cut(
                name, tuple(shapes[name]), name, _Prefix(f"projection of {owner!r}", tables)
            )
    return parts


def _of_tasks(labels: Sequence[str]) -> list[Unit]:
    return [Unit(repr(label), frozenset([label])) for label in labels]


def _cut(
    name: str, shape: tuple[int, ...], prefix: str, rules: _Prefix
) -> Iterator[tuple[str, WeightPart]]:
    """Cut a tensor along its first axis, which has as many equal ranges as there are units."""
    rest = name.removeprefix(prefix)
    if not shape or len(rules.units) == 1 and not rules.units[0].name:
        yield rules.renamed + rest, WeightPart(name, (), shape, rules.tasks, rules.optional)
        return
    width = shape[0] // len(rules.units)
    for number, unit in enumerate(rules.units):
        place = (slice(number * width, (number + 1) * width),)
        tasks = rules.tasks | unit.tasks
        part = WeightPart(name, place, (width, *shape[1:]), tasks, rules.optional)
        yield f"{rules.renamed}{rest} of {unit.name}", part


def _prefixes(model: MultiTaskNet) -> Iterator[tuple[str, _Prefix]]:
    """Yield the paths of modules whose tensors hold several units, or belong to tasks."""
    labels = model.labels
    of_task = {unit.name: unit.tasks for unit in _of_tasks(labels)}
    inside: set[nn.Module] = set()
    for path, module in model.named_modules():
        if isinstance(module, ExpertLayer):
            inside.add(module.gates)
            names = zip(*expert_names(module, list(of_task)), strict=True)
            experts = [Unit(name, of_task.get(owner, frozenset())) for owner, name in names]
            specific = experts[: module.specific_experts.num_groups]
            yield f"{path}.specific_experts", _Prefix(f"{path}.specific_experts", specific)
            yield from _gates(f"{path}.gates", module.gates, labels, experts)
        elif isinstance(module, GateBank) and module not in inside and not isinstance(model, OMoE):
            experts = [Unit(str(number + 1)) for number in range(module.num_experts)]
            yield from _gates(path, module, labels, experts)
    yield "towers", _Prefix("towers", _of_tasks(model.tower_labels))
    yield "bottoms", _Prefix("bottoms", _of_tasks(labels))
    for number, (before, label) in enumerate(zip(labels, labels[1:], strict=False)):
        renamed = f"transfers from {before!r} to {label!r}"
        yield f"transfers.{number}", _Prefix(renamed, _WHOLE, frozenset([before, label]), True)
    # A single task attends to nothing.
    yield "attention", _Prefix("attention", _WHOLE, optional=True)
    embedding = model.embedding_layer
    tables = streams(labels, embedding.num_tables)
    for name, number in embedding.encoder_of.items():
        yield f"{EMBEDDING}.encoders.{number}", _Prefix(f"encoder of {name!r}", tables)


def _gates(
    path: str, bank: GateBank, labels: Sequence[str], experts: Sequence[Unit]
) -> Iterator[tuple[str, _Prefix]]:
    gates = [*_of_tasks(labels), Unit("shared")][: len(bank.output)]
    yield f"{path}.hidden", _Prefix(f"{path}.hidden", gates)
    for number, (gate, slots) in enumerate(zip(gates, bank.reads, strict=True)):
        renamed = f"{path}.output of {gate.name}"
        read = [experts[slot] for slot in slots]
        yield f"{path}.output.{number}", _Prefix(renamed, read, gate.tasks)


def _numeric_parts(model: MultiTaskNet) -> Iterator[tuple[str, WeightPart]]:
    layout = model.embedding_layer.layout
    tables = streams(model.labels, model.embedding_layer.num_tables)
    for number, names in enumerate(layout.numeric):
        dim = layout.dims[names[0]]
        for row, name in enumerate(names):
            for table, unit in enumerate(tables):
                place = (slice(row, row + 1), slice(table * dim, (table + 1) * dim))
                tensor = f"{EMBEDDING}.numeric.{number}.weight"
                part = WeightPart(tensor, place, (1, dim), unit.tasks)
                yield f"vector of {name!r} of {unit.name}", part
