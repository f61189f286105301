"""Weights taken over from another model of the same kind, part by part and row by row.

Symbols: K tables, D embedding dim, V rows of a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fuxictr_stem.layers.row_shards import RowShard
from fuxictr_stem.models.features import FieldLayout
from fuxictr_stem.models.weight_parts import EMBEDDING, Unit, WeightPart
from fuxictr_stem.training.weights import TensorFile

_BLOCK_BYTES = 1 << 26


class Rows(NamedTuple):
    """Ids of the same tokens in two vocabularies, (N,) each."""

    here: np.ndarray
    there: np.ndarray


class TableRows(NamedTuple):
    """Where the rows of a vocabulary lie: in a tensor, that of id 0, and D of one of its K tables."""

    tensor: str
    first_id: int
    width: int


def misfits(
    theirs: Mapping[str, WeightPart],
    ours: Mapping[str, WeightPart],
    other_tasks: Iterable[str],
) -> Iterator[str]:
    """Yield each tensor with a part that only one of two models has, or has in another shape.

    Parts of tasks that only one of the two has may be absent.
    """
    others, seen = set(other_tasks), set()
    for name in dict.fromkeys([*ours, *theirs]):
        here, there = ours.get(name), theirs.get(name)
        part = here or there
        assert part is not None
        if here and there and here.shape == there.shape or part.tensor in seen:
            continue
        if not (here and there) and (part.optional or part.tasks & others):
            continue
        seen.add(part.tensor)
        yield f"{name}: {_shape(there)} there, {_shape(here)} here"


def _shape(part: WeightPart | None) -> str:
    return "x".join(map(str, part.shape)) or "a number" if part else "none"


@torch.no_grad()
def copy_parts(
    file: TensorFile,
    state: Mapping[str, Tensor],
    theirs: Mapping[str, WeightPart],
    ours: Mapping[str, WeightPart],
) -> list[str]:
    """Copy the parts that both models have into our state; return the names of those that only ours has.

    ``file`` holds their weights; parts are as `weight_parts` names them.
    """
    for name, part in ours.items():
        if name in theirs:
            values = file.read(theirs[name].tensor, theirs[name].place)
            state[part.tensor][part.place].copy_(values)
    return [name for name in ours if name not in theirs]


def table_rows(layout: FieldLayout, owner: str) -> Iterator[TableRows]:
    """Yield the learnt tables of a field that owns its rows: what ids read, what is added to vectors."""
    spec, dim = layout.features[owner], layout.dims[owner]
    if owner not in layout.pretrained:
        number, first_id = layout.first_id(owner)
        yield TableRows(f"{EMBEDDING}.tables.{number}.table.weight", first_id, dim)
        return
    path = f"{EMBEDDING}.pretrained.{layout.pretrained.index(owner)}"
    if not spec["freeze_emb"]:
        yield TableRows(f"{path}.learnt.weight", 0, spec.get("pretrain_dim", dim))
    if spec.get("pretrain_usage", "init") != "init":
        yield TableRows(f"{path}.ids.weight", 0, dim)


def table_columns(
    width: int, theirs: Sequence[Unit], ours: Sequence[Unit]
) -> list[tuple[slice, slice]]:
    """Return the columns of a wide row there and here, of tables of this width, for each that both have."""
    if list(theirs) == list(ours):
        return [(slice(None), slice(None))]

    def columns(table: int) -> slice:
        return slice(table * width, (table + 1) * width)

    return [
        (columns(theirs.index(unit)), columns(number))
        for number, unit in enumerate(ours)
        if unit in theirs
    ]


@torch.no_grad()
def copy_rows(
    file: TensorFile,
    source: TableRows,
    target: Tensor,
    first_id: int,
    rows: Rows,
    columns: Sequence[tuple[slice, slice]],
    shard: RowShard | None = None,
) -> None:
    """Copy rows of a table, some at a time, from a file to our tensor, (V, K*D), on any device.

    ``first_id`` is our row of id 0, ``columns`` are what `table_columns` returns, and ``shard`` says which
    rows of the table the tensor has; None for all.
    """
    order = np.argsort(rows.there, kind="stable")
    there, here = rows.there[order] + source.first_id, rows.here[order] + first_id
    if shard is not None:
        kept, slots = shard.kept(torch.from_numpy(here))
        there, here = there[kept.numpy()], slots.numpy()
    row_bytes = math.prod(file.shapes[source.tensor][1:]) * file.dtypes[source.tensor].itemsize
    step, start = max(1, _BLOCK_BYTES // max(row_bytes, 1)), 0
    while start < len(there):
        # A span in the file of bounded size.
        low = int(there[start])
        stop = int(np.searchsorted(there, low + step))
        values = file.read(source.tensor, (slice(low, int(there[stop - 1]) + 1),))
        values = values[torch.from_numpy(there[start:stop] - low)]
        places = torch.from_numpy(here[start:stop]).to(target.device)
        for theirs, ours in columns:
            target[:, ours].index_copy_(0, places, values[:, theirs].to(target.device))
        start = stop
