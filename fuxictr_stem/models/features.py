"""FuxiCTR's features as one dense input per table: the glue between a `FeatureMap` and `layers`.

Which table each field reads, and where its rows lie, is known without building the tables (`FieldLayout`).

Symbols: B batch, K tables, D embedding dim of a field, L sequence length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from fuxictr.features import FeatureMap
from torch import Tensor, nn

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.layers import FieldTables, NumericTables, PretrainedTables
from fuxictr_stem.layers.embeddings import first_ids
from fuxictr_stem.models.encoders import FieldEncoder
from fuxictr_stem.models.expressions import parse_initializer
from fuxictr_stem.models.pretrained_vectors import read_vectors

DEFAULT_INITIALIZER = "partial(nn.init.normal_, std=1e-4)"


@dataclass(frozen=True)
class FieldLayout:
    """The places of the fields of a `TaskEmbedding`; a field's place in a list is a module's number."""

    features: dict[str, dict[str, Any]]  # their specs, each with the dim of the table it reads
    dims: dict[str, int]  # embedding dim of each field, before its encoder
    # The field whose table a categorical or sequence field reads: its own, or that of `share_embedding`.
    owners: dict[str, str]
    pretrained: list[str]  # owners with pretrained vectors
    # The other owners, and the numeric fields; those of one dim are together.
    tables: list[list[str]]
    numeric: list[list[str]]

    def first_id(self, owner: str) -> tuple[int, int]:
        """Return the number of the table that an owner's rows lie in, and the row of its id 0.

        The row of an id is that many further; id 0 of a padded vocabulary has none.
        """
        number, names = next((i, names) for i, names in enumerate(self.tables) if owner in names)
        sizes, padded = vocabularies(self.features[name] for name in names)
        return number, first_ids(sizes, padded)[names.index(owner)]


def field_layout(specs: Mapping[str, Mapping[str, Any]], embedding_dim: int) -> FieldLayout:
    """Lay out the fields of a feature map, whose specs may hold meta columns.

    The embedding dim is the width of a field that names none of its own.
    """
    features = {name: dict(spec) for name, spec in specs.items() if spec["type"] != "meta"}

    def owner_of(name: str) -> str:
        shared = features[name].get("share_embedding")
        return owner_of(shared) if shared in features else name

    owners = {
        name: owner_of(name)
        for name, spec in features.items()
        if spec["type"] in ("categorical", "sequence")
    }
    dims = {name: spec.get("embedding_dim") or embedding_dim for name, spec in features.items()}
    for name, owner in owners.items():
        dims[name] = features[name]["embedding_dim"] = dims[owner]
    every = dict.fromkeys(owners.values())
    pretrained = [owner for owner in every if "pretrained_emb" in features[owner]]
    plain = [owner for owner in every if owner not in pretrained]
    numeric = [name for name, spec in features.items() if spec["type"] == "numeric"]

    def by_dim(names: list[str]) -> list[list[str]]:
        dims_of = dict.fromkeys(dims[name] for name in names)
        return [[name for name in names if dims[name] == dim] for dim in dims_of]

    return FieldLayout(features, dims, owners, pretrained, by_dim(plain), by_dim(numeric))


def vocabularies(specs: Iterable[Mapping[str, Any]]) -> tuple[list[int], list[bool]]:
    """Return the sizes of fields' vocabularies, id 0 included, and whether that id is padding."""
    pairs = [(spec["vocab_size"], spec.get("padding_idx") == 0) for spec in specs]
    return [size for size, _ in pairs], [pad for _, pad in pairs]


class TaskEmbedding(nn.Module):
    """Every feature of a feature map, embedded in each of K tables.

    All of FuxiCTR's feature types: categorical, numeric, sequence with pooling, ``share_embedding``,
    ``pretrained_emb``, ``embedding``; fields may have an ``embedding_dim`` of their own. Plain
    categorical fields of the same dim are one lookup in one table. Where the feature map's ``data_dir`` is
    None, pretrained vectors are read from no file: weights that hold them are to be loaded.

    Raises:
        ConfigError: If a field cannot be embedded: no pooling for a sequence, an unknown encoder.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        embedding_dim: int,
        num_tables: int,
        initializer: str = DEFAULT_INITIALIZER,
    ) -> None:
        super().__init__()
        self.num_tables = num_tables
        self.embedding_dim = embedding_dim
        # Where several processes split the tables: has each one's ``fetched`` hold some rows, (N,).
        self.fetch: Callable[[list[Tensor]], None] | None = None
        self.layout = field_layout(feature_map.features, embedding_dim)
        self.features = self.layout.features
        if not self.features:
            raise ConfigError(
                "The model has no feature left: use_features names meta columns only."
            )
        self.initializer = parse_initializer(initializer)
        # Module lists, not dicts: a feature may be called "items" or hold a dot.
        self.tables = nn.ModuleList()
        self.pretrained = nn.ModuleList()
        self.numeric = nn.ModuleList()
        self.encoders = nn.ModuleList()
        # field -> (table, vocabulary in it); field -> pretrained; field -> encoder
        self.vocab_of: dict[str, tuple[int, int]] = {}
        self.pretrained_of: dict[str, int] = {}
        self.encoder_of: dict[str, int] = {}
        self._build_lookups(feature_map)
        # The numeric fields of each dim are one module.
        for names in self.layout.numeric:
            dim = self.layout.dims[names[0]]
            self.numeric.append(NumericTables(len(names), dim, num_tables))
        # Widths of the fields in one table's input.
        self.widths = dict(self.layout.dims)
        for name, spec in self.features.items():
            encoder = FieldEncoder.from_spec(name, spec, self.widths[name], num_tables)
            if encoder is not None:
                self.encoder_of[name] = len(self.encoders)
                self.encoders.append(encoder)
                self.widths[name] = encoder.output_dim
        self.output_dim = sum(self.widths.values())

    def _build_lookups(self, feature_map: FeatureMap) -> None:
        layout = self.layout
        for number, owner in enumerate(layout.pretrained):
            spec, dim = self.features[owner], layout.dims[owner]
            width = spec.get("pretrain_dim", dim)
            self.pretrained_of[owner] = number
            self.pretrained.append(
                PretrainedTables(
                    read_vectors(owner, spec, feature_map.data_dir, width),
                    dim,
                    self.num_tables,
                    spec.get("pretrain_usage", "init"),
                    frozen=spec["freeze_emb"],
                    oov_id=spec["oov_idx"],
                    initializer=self.initializer,
                )
            )
        for number, names in enumerate(layout.tables):
            self.vocab_of |= {name: (number, vocab) for vocab, name in enumerate(names)}
            sizes, padded = vocabularies(self.features[name] for name in names)
            dim = layout.dims[names[0]]
            self.tables.append(FieldTables(sizes, padded, dim, self.num_tables, self.initializer))
        for name, owner in layout.owners.items():
            if owner in self.pretrained_of:
                self.pretrained_of[name] = self.pretrained_of[owner]
            else:
                self.vocab_of[name] = self.vocab_of[owner]
        # One lookup per table for its plain categorical fields.
        self.plain: dict[int, list[str]] = {}
        for name, (table, _) in self.vocab_of.items():
            if self.features[name]["type"] == "categorical":
                self.plain.setdefault(table, []).append(name)
        for table, names in self.plain.items():
            vocabs = torch.tensor([self.vocab_of[name][1] for name in names])
            self.register_buffer(f"plain_vocabs_{table}", vocabs, persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Embed a batch of columns: ids (B,) or (B, L), numbers (B,) or (B, P), to (K, B, output_dim)."""
        if self.fetch is not None:
            self.fetch(self._rows(inputs))
        parts: dict[str, Tensor] = {}
        for table, ids, vocabs in self._plain_ids(inputs):
            rows = self.tables[table](ids, vocabs)
            parts |= dict(zip(self.plain[table], rows.unbind(1), strict=True))
        for names, tables in zip(self.layout.numeric, self.numeric, strict=True):
            values = torch.stack([inputs[name] for name in names], dim=1)
            parts |= dict(zip(names, tables(values).unbind(1), strict=True))
        for name, spec in self.features.items():
            if name in self.pretrained_of:
                parts[name] = self.pretrained[self.pretrained_of[name]](inputs[name])
            elif spec["type"] == "sequence":
                table, vocab = self.vocab_of[name]
                parts[name] = self.tables[table](inputs[name], vocab)
            elif spec["type"] == "embedding":
                parts[name] = inputs[name].float()
            if name in self.encoder_of:
                parts[name] = self.encoders[self.encoder_of[name]](parts[name])
        wide = [parts[name].unflatten(1, (self.num_tables, -1)) for name in self.features]
        return torch.cat(wide, dim=2).transpose(0, 1)

    def field_tables(self) -> list[FieldTables]:
        """Return the modules that hold the tables, in their order."""
        return [cast("FieldTables", module) for module in self.tables]

    def _plain_ids(self, inputs: dict[str, Tensor]) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield tables, the ids of their plain fields, (B, F), and the fields' vocabularies, (F,)."""
        for table, names in self.plain.items():
            ids = torch.stack([inputs[name] for name in names], dim=1)
            yield table, ids, self.get_buffer(f"plain_vocabs_{table}")

    def _rows(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """Return the rows that a batch looks up in each table, (N,) each."""
        tables = self.field_tables()
        rows: list[list[Tensor]] = [[] for _ in tables]
        for table, ids, vocabs in self._plain_ids(inputs):
            rows[table].append(tables[table].table_rows(ids, vocabs).flatten())
        for name, (table, vocab) in self.vocab_of.items():
            if self.features[name]["type"] == "sequence":
                rows[table].append(tables[table].table_rows(inputs[name], vocab).flatten())
        return [torch.cat(of_table) for of_table in rows]
