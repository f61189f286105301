"""The embedding of all features, for scoring: one read of each table for all its columns.

An id outside its vocabulary reads the row of the vocabulary's unknown value, never a neighbour's.

Symbols: B batch, K tables, D embedding dim, L sequence length, N columns that are read at once, of which a
sequence has L.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import cast

import torch
from torch import Tensor, nn

from fuxictr_stem.layers import FieldTables, NumericTables, PretrainedTables
from fuxictr_stem.models.encoders import FieldEncoder, Pooling
from fuxictr_stem.models.features import TaskEmbedding
from fuxictr_stem.serving.stored_rows import StoredRows


class ScoringEmbedding(nn.Module):
    """`TaskEmbedding` for scoring; tables that are stored as they are share its memory.

    An id that is not in a field's vocabulary is ``unknown`` of that field, or the last of the vocabulary.
    """

    def __init__(
        self, embedding: TaskEmbedding, unknown: Mapping[str, int], stored_as: str
    ) -> None:
        super().__init__()
        self.num_tables = embedding.num_tables
        self.features = embedding.features
        self.encoder_of = embedding.encoder_of
        self.encoders = nn.ModuleList(
            _scoring_encoder(cast("FieldEncoder", encoder)) for encoder in embedding.encoders
        )
        self.pretrained_of = embedding.pretrained_of
        self.pretrained = nn.ModuleList(
            _PretrainedReader(cast("PretrainedTables", tables), stored_as)
            for tables in embedding.pretrained
        )
        # What reads the columns of several fields at once, and these fields in the input's order.
        self.readers = nn.ModuleList()
        fields: list[list[str]] = []
        for number, tables in enumerate(embedding.tables):
            vocab_of = {n: v for n, (table, v) in embedding.vocab_of.items() if table == number}
            fields.append([name for name in self.features if name in vocab_of])
            vocabs = [vocab_of[name] for name in fields[-1] for _ in range(self._columns(name))]
            ids = {vocab: unknown[name] for name, vocab in vocab_of.items() if name in unknown}
            self.readers.append(_TableReader(cast("FieldTables", tables), vocabs, ids, stored_as))
        self.readers.extend(_NumericReader(cast("NumericTables", n)) for n in embedding.numeric)
        fields.extend(embedding.layout.numeric)
        self.fields = fields
        self.reader_of = {name: number for number, names in enumerate(fields) for name in names}
        # Neighbours whose vectors are only put together are one part of the input.
        self.parts = [list(names) for _, names in groupby(self.features, self._steps)]

    def _columns(self, name: str) -> int:
        spec = self.features[name]
        return spec["max_len"] if spec["type"] == "sequence" else 1

    def _steps(self, name: str) -> object:
        return name if name in self.encoder_of else self.reader_of.get(name, name)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Embed a batch of columns: ids (B,) or (B, L), numbers (B,) or (B, P), to (K, B, output_dim)."""
        parts: dict[str, Tensor] = {}
        for number, (reader, names) in enumerate(zip(self.readers, self.fields, strict=True)):
            x_NBKD = reader([inputs[name] for name in names])
            read = [part for part in self.parts if self.reader_of.get(part[0]) == number]
            sizes = [sum(map(self._columns, part)) for part in read]
            of_parts = x_NBKD.split(sizes) if len(sizes) > 1 else [x_NBKD]
            for part, x in zip(read, of_parts, strict=True):
                parts[part[0]] = self._from_columns(part[0], x)
        for name in self.features:
            if name not in self.reader_of:
                x = inputs[name]
                if name in self.pretrained_of:
                    x = self.pretrained[self.pretrained_of[name]](x)
                parts[name] = self._encoded(name, x.float())
        ordered = [parts[part[0]] for part in self.parts]
        return torch.cat(ordered, dim=2) if len(ordered) > 1 else ordered[0]

    def _from_columns(self, name: str, x_NBKD: Tensor) -> Tensor:
        """Return a part of the input, whose first field is named, (K, B, width)."""
        if name not in self.encoder_of:
            return x_NBKD.permute(2, 1, 0, 3).flatten(2)
        wide = x_NBKD.flatten(2)
        is_sequence = self.features[name]["type"] == "sequence"
        return self._encoded(name, wide.transpose(0, 1) if is_sequence else wide[0])

    def _encoded(self, name: str, x: Tensor) -> Tensor:
        if name in self.encoder_of:
            x = self.encoders[self.encoder_of[name]](x)
        return x.unflatten(1, (self.num_tables, -1)).transpose(0, 1)


def _by_column(columns: Sequence[Tensor]) -> Tensor:
    """Put (B,) and (B, L) columns below each other, (N, B)."""
    count = sum(1 if x.dim() == 1 else x.shape[1] for x in columns)
    flat = [x if x.dim() == 1 else x.t().flatten() for x in columns]
    return (torch.cat(flat) if len(flat) > 1 else flat[0]).view(count, columns[0].shape[0])


class _TableReader(nn.Module):
    """Reads columns of ids from a `FieldTables`, to (N, B, K, D).

    ``vocabs`` are the numbers of the columns' vocabularies, N, and ``unknown`` the id of the unknown value
    by vocabulary; by default its last.
    """

    first: Tensor
    size: Tensor
    unknown: Tensor
    padded: Tensor | None

    def __init__(
        self, tables: FieldTables, vocabs: list[int], unknown: Mapping[int, int], stored_as: str
    ) -> None:
        super().__init__()
        self.shape = (tables.num_tables, tables.embedding_dim)
        self.rows = StoredRows(tables.table.weight, tables.num_tables, stored_as)
        ids = [unknown.get(vocab, tables.vocab_sizes[vocab] - 1) for vocab in vocabs]
        first = tables.offsets[vocabs, None]
        self.register_buffer("first", first)
        self.register_buffer("size", tables.sizes[vocabs, None])
        self.register_buffer("unknown", first + torch.tensor(ids)[:, None])
        padded = tables.padded[vocabs, None]
        self.pads = bool(padded.any())
        self.register_buffer("padded", None if padded.all() else padded)

    def forward(self, columns: Sequence[Tensor]) -> Tensor:
        ids = _by_column(columns).long()
        inside = (ids >= 0) & (ids < self.size)
        rows = torch.where(inside, ids + self.first, self.unknown)
        if self.pads:
            is_padding = ids == 0 if self.padded is None else (ids == 0) & self.padded
            rows = torch.where(is_padding, 0, rows)
        return self.rows(rows).unflatten(2, self.shape)


class _NumericReader(nn.Module):
    """Reads columns of numbers as `NumericTables`, to (N, B, K, D)."""

    weight: Tensor

    def __init__(self, tables: NumericTables) -> None:
        super().__init__()
        parts = tables.weight.detach().unflatten(1, (-1, tables.embedding_dim))
        self.register_buffer("weight", parts[:, None])

    def forward(self, columns: Sequence[Tensor]) -> Tensor:
        return _by_column(columns).float()[..., None, None] * self.weight


class _ScoringPooling(Pooling):
    """Pooling without a number so small that ONNX tools take it for 0, and leave it out."""

    def forward(self, x_BLKD: Tensor) -> Tensor:
        total = x_BLKD.sum(dim=1)
        # The sum of nothing is 0, whatever divides it.
        return total / self.count(x_BLKD).clamp(min=1) if self.average else total


def _scoring_encoder(encoder: FieldEncoder) -> FieldEncoder:
    twin = copy.copy(encoder)
    twin._modules = dict(encoder._modules)
    if encoder.pooling is not None:
        twin.pooling = _ScoringPooling(encoder.pooling.average)
    return twin


class _PretrainedReader(nn.Module):
    """Reads ids from a `PretrainedTables`, whose tables are stored in another form."""

    def __init__(self, tables: PretrainedTables, stored_as: str) -> None:
        super().__init__()
        wide, stored = tables.num_tables, {}
        if tables.vectors is None:
            stored["learnt"] = StoredRows(tables.learnt.weight, wide, stored_as)
        else:
            stored["vectors"] = StoredRows(tables.vectors, 1, stored_as)
        if tables.usage != "init":
            stored["ids"] = StoredRows(tables.ids.weight, wide, stored_as)
        self.size = len(next(iter(stored.values())).get_buffer("weight"))
        self.tables = copy.copy(tables)
        self.tables._modules, self.tables._buffers = dict(tables._modules), dict(tables._buffers)
        for name, rows in stored.items():
            setattr(self.tables, name, rows)

    def forward(self, ids: Tensor) -> Tensor:
        ids = ids.long()
        return self.tables(torch.where((ids >= 0) & (ids < self.size), ids, self.tables.oov_id))
