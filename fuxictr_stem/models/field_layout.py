"""Which table each field reads, and where its rows lie: known without building the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fuxictr_stem.layers.embeddings import first_ids


@dataclass(frozen=True)
class FieldLayout:
    """The places of the fields of a `TaskEmbedding`; a field's place in a list is a module's number."""

    features: dict[str, dict[str, Any]]  # their specs, each with the dim of the table it reads
    dims: dict[str, int]  # embedding dim of each field, before its encoder
    # The field whose table a categorical or sequence field reads: its own, or that of `share_embedding`.
    owners: dict[str, str]
    pretrained: list[str] = field(default_factory=list)  # owners with pretrained vectors
    # The other owners, and the numeric fields; those of one dim are together.
    tables: list[list[str]] = field(default_factory=list)
    numeric: list[list[str]] = field(default_factory=list)

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
    layout = FieldLayout(features, dims, owners)
    tables: dict[int, list[str]] = {}
    for owner in dict.fromkeys(owners.values()):
        if "pretrained_emb" in features[owner]:
            layout.pretrained.append(owner)
        else:
            tables.setdefault(dims[owner], []).append(owner)
    numeric: dict[int, list[str]] = {}
    for name, spec in features.items():
        if spec["type"] == "numeric":
            numeric.setdefault(dims[name], []).append(name)
    layout.tables.extend(tables.values())
    layout.numeric.extend(numeric.values())
    return layout


def vocabularies(specs: Iterable[Mapping[str, Any]]) -> tuple[list[int], list[bool]]:
    """Return the sizes of fields' vocabularies, id 0 included, and whether that id is padding."""
    pairs = [(spec["vocab_size"], spec.get("padding_idx") == 0) for spec in specs]
    return [size for size, _ in pairs], [pad for _, pad in pairs]
