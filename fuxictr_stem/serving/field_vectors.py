"""The learnt vectors of a run's ids, by raw value: for an index of nearest neighbours, or another system.

They are what the model reads for an id, before a sequence is pooled and before a field's encoder: of
pretrained vectors, after their projection.

Symbols: K tables, D embedding dim, N keys.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from fuxictr_stem.config.column_words import CATEGORICAL, SEQUENCE
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.errors import ConfigError, OutputError, listed, suggest
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.part_owners import SHARED
from fuxictr_stem.runtime.outputs import check_new_folder, check_space
from fuxictr_stem.runtime.progress import Progress
from fuxictr_stem.runtime.whole_folder import fresh_folder, put_in_place
from fuxictr_stem.training.predictions_file import parquet_blocks

logger = logging.getLogger(__name__)

KEY = "key"

_BLOCK_BYTES = 1 << 26


class Table(NamedTuple):
    """The vectors of one field in one table."""

    keys: pl.Series  # raw values, (N,); null for the values that are not in the vocabulary
    vectors: np.ndarray  # (N, D) float32


@dataclass(frozen=True)
class FieldVectors:
    """The vectors of a model's fields."""

    model: MultiTaskNet  # the model
    encoder: RowEncoder  # of its columns

    def table(self, field: str, task: str | None = None, unknown: bool = False) -> Table:
        """Return a field's vectors in one table; arguments and errors as for `Run.table`."""
        self.check([field])
        names = self.tables
        name = SHARED if task is None else task
        if name not in names:
            labels = ", ".join(repr(label) for label in names if label != SHARED)
            there = f"those of {labels}, and the shared one" if labels else "the shared one alone"
            raise ConfigError(
                f"task: there is no table for {task!r}.{suggest(name, names)} The tables are "
                f"{there} (None)."
            )
        blocks = list(self._blocks(field, unknown))
        vectors = np.concatenate([vectors[:, names[name]] for _, vectors in blocks])
        return Table(pl.concat([keys for keys, _ in blocks]), vectors)

    def frame(self, field: str, unknown: bool = False) -> pl.DataFrame:
        """Return a field's vectors in every table; arguments as for `Run.embeddings`."""
        self.check([field])
        return pl.concat(list(self.frames(field, unknown)))

    def frames(self, field: str, unknown: bool = False) -> Iterator[pl.DataFrame]:
        """Yield the rows of `frame` in blocks, at least one."""
        for keys, vectors in self._blocks(field, unknown):
            columns = [
                pl.Series(
                    name,
                    np.ascontiguousarray(vectors[:, number]),
                    pl.Array(pl.Float32, vectors.shape[2]),
                )
                for name, number in self.tables.items()
            ]
            yield pl.DataFrame([keys.alias(KEY), *columns])

    @property
    def tables(self) -> dict[str, int]:
        """The tables' names, the shared one first, and the place of each in a wide row.

        A label with the name of another column is a ConfigError.
        """
        labels, count = self.model.labels, self.model.embedding_layer.num_tables
        if count == 1:
            return {SHARED: 0}
        taken = sorted({KEY, SHARED} & set(labels))
        if taken:
            raise ConfigError(
                f"label {taken[0]!r}: a column of the embeddings has this name. Train the label under "
                f"another one: preprocess: copy_from({taken[0]})."
            )
        return {SHARED: count - 1, **{label: number for number, label in enumerate(labels)}}

    def check(self, fields: Sequence[str]) -> None:
        """Reject fields without vectors by key in one ConfigError."""
        specs = self.model.feature_map.features
        tables = [name for name, spec in specs.items() if spec["type"] in (CATEGORICAL, SEQUENCE)]
        problems = []
        for field in fields:
            if field not in specs:
                problems.append(
                    f"there is no field {field!r}.{suggest(field, tables)} The fields with vectors: "
                    f"{', '.join(tables) or 'none'}."
                )
            elif field not in tables:
                problems.append(f"field {field!r} {_NO_TABLE[specs[field]['type']]}")
        if problems:
            raise ConfigError(listed("embeddings", problems))

    def _blocks(self, field: str, unknown: bool) -> Iterator[tuple[pl.Series, np.ndarray]]:
        """Yield keys in the order of their ids and their vectors, (rows, K, D), at least one block."""
        keys, ids = self.encoder.keys(field)
        order = np.argsort(ids, kind="stable")
        keys, ids = keys.gather(order), ids[order]
        last = self.encoder.unknown(field)
        if unknown and last is not None:
            keys = keys.append(pl.Series([None], dtype=keys.dtype))
            ids = np.append(ids, last)
        embedding, device = self.model.embedding_layer, self.model.device
        width = embedding.num_tables * embedding.layout.dims[field]
        step = max(1, _BLOCK_BYTES // (4 * width))
        for start in range(0, max(len(ids), 1), step):
            part = torch.from_numpy(ids[start : start + step].astype(np.int64)).to(device)
            vectors = self._read(field, part).unflatten(1, (embedding.num_tables, -1))
            yield keys[start : start + step], vectors.float().cpu().numpy()

    @torch.no_grad()
    def _read(self, field: str, ids: Tensor) -> Tensor:
        """Return what the model reads for ids of a field, (N, K*D)."""
        embedding = self.model.embedding_layer
        if field in embedding.pretrained_of:
            return embedding.pretrained[embedding.pretrained_of[field]](ids)
        number, vocab = embedding.vocab_of[field]
        vocabs = torch.tensor([vocab], device=ids.device)
        return embedding.tables[number](ids[:, None], vocabs)[:, 0]


_NO_TABLE = {
    "numeric": "is numeric: its vector is its value times a learnt one, so no key has a vector of its own.",
    "embedding": "holds ready-made vectors, which are in the data.",
    "meta": "is not a feature of the model.",
}


def write_embeddings(
    vectors: FieldVectors, out: Path, fields: Sequence[str] | None = None
) -> list[Path]:
    """Write the vectors of fields; see `Run.write_embeddings`."""
    layout = vectors.model.embedding_layer.layout
    if fields is None:
        fields = [name for name, owner in layout.owners.items() if name == owner]
        for name, owner in layout.owners.items():
            if name != owner:
                logger.info("%s reads the table of %s, so it has no file of its own.", name, owner)
    vectors.check(fields)
    rows = {field: len(vectors.encoder.keys(field)[1]) for field in fields}
    tables = len(vectors.tables)
    needed = 4 * sum(count * tables * layout.dims[field] for field, count in rows.items())
    check_new_folder(out, "--out")
    check_space(out, needed, "the vectors need", "or choose fewer --fields")
    try:
        with fresh_folder(out) as fresh, Progress("Embeddings", sum(rows.values()), "rows") as bar:
            for field in rows:
                with parquet_blocks(fresh / _file_name(field), "zstd") as append:
                    for frame in vectors.frames(field):
                        append(frame)
                        bar.update(len(frame))
            put_in_place(fresh, out)
    except OSError as error:
        raise OutputError(
            f"--out {out} cannot be written: {error}. Free some space, or choose another folder."
        ) from error
    return [out / _file_name(field) for field in rows]


def _file_name(field: str) -> str:
    """Return the name of a field's file; a slash in it is written %2F."""
    return f"{field.replace('%', '%25').replace('/', '%2F')}.parquet"
