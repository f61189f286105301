"""A smaller input with the same fault: rows, columns of the config and files are left out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.fuzz.readings import SPLITS, Input

_TRIES = 150


def smallest(example: Input, judge: Callable[[Input], Any]) -> Input:
    """Return the smallest input found that gets a verdict of the same kind and first words."""
    fault = _fault(judge(example))
    tries = 0
    changed = True
    while changed:
        changed = False
        for smaller in _smaller(example):
            tries += 1
            if tries > _TRIES:
                return example
            try:
                same = _fault(judge(smaller)) == fault
            except Exception:  # noqa: BLE001  what has become no input is no smaller one
                continue
            if same:
                example, changed = smaller, True
                break
    return example


def _fault(verdict: Any) -> tuple[str, str]:
    return verdict.kind, " ".join(verdict.detail.split()[:2])


def _smaller(example: Input) -> Iterator[Input]:
    for key in ("group_id", "null_values", "sep"):
        if key in example.dataset:
            yield replace(example, dataset={k: v for k, v in example.dataset.items() if k != key})
    for key in ("feature_cols", "label_col"):
        columns = example.dataset[key]
        for col in columns if len(columns) > 1 else ():
            kept = [c for c in columns if c is not col]
            yield replace(example, dataset={**example.dataset, key: kept})
    for name in example.files:
        if name not in {example.dataset[f"{split}_data"] for split in SPLITS}:
            yield replace(example, files={n: c for n, c in example.files.items() if n != name})
    for name, content in example.files.items():
        for less in _less(name, content):
            yield replace(example, files={**example.files, name: less})


def _less(name: str, content: bytes) -> Iterator[bytes]:
    """Yield a file without half of its rows, or one of them."""
    if name.endswith(".parquet"):
        table = pq.read_table(io.BytesIO(content))
        for gone in _gone(table.num_rows, 0):
            kept = [i for i in range(table.num_rows) if i not in gone]
            stream = io.BytesIO()
            pq.write_table(table.take(pa.array(kept, pa.int64())), stream)
            yield stream.getvalue()
    elif name.endswith((".csv", ".tsv")):
        lines = content.splitlines(keepends=True)
        for gone in _gone(len(lines), 1):
            yield b"".join(line for i, line in enumerate(lines) if i not in gone)


def _gone(count: int, first: int) -> Iterator[set[int]]:
    step = (count - first) // 2
    while step:
        for start in range(first, count, step):
            yield set(range(start, min(start + step, count)))
        step //= 2
