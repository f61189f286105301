"""How much the tables of a model resemble each other, and how many directions each one uses.

Compared are the vectors of the same ids in two tables:

- the mean cosine of an id's two vectors. It answers whether they are the same vectors; tables that were
  trained apart may agree in all but a rotation and still have a cosine near 0.
- linear centred kernel alignment (CKA; Kornblith et al., ICML 2019, eq. 4), which a rotation and a
  common scale leave as it is. With X and Y the centred tables, ``|Y'X|^2 / (|X'X| |Y'Y|)``.

The singular values s of a table, divided by their sum, are its spectrum p; its effective rank is
``exp(-sum p log p)`` (Roy and Vetterli, EUSIPCO 2007): the table's width if all directions are used alike,
1 if there is one.

Left out are the padding row (id 0), and the last id of a padded vocabulary: FuxiCTR puts there whatever is
rare or unknown, so it is no single id, and where nothing was rare it has never been trained. All other ids
occur in train.

Symbols: K tables, V ids of a field, D embedding dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from fuxictr.pytorch.models import MultiTaskModel

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.layers import FieldTables
from fuxictr_stem.models.features import TaskEmbedding
from fuxictr_stem.models.part_owners import SHARED, stream_owners
from fuxictr_stem.training.task_loss import model_labels


@dataclass(frozen=True)
class TableComparison:
    """The tables of one field, or of several together."""

    field: str  # the field, or ``all`` for the plain categorical fields of one width together
    # Whose each table is: the labels, then ``shared``; ``shared`` alone in a model with one
    # table, K.
    tables: list[str]
    ids: int  # number of ids compared, V
    # (K, K) mean cosine over the ids; an id whose vector is zero in one of the two does not
    # count, and a mean over no id is NaN.
    cosine: np.ndarray
    cka: np.ndarray  # (K, K) linear CKA; NaN where a table has one vector for all ids
    # (K, min(V, D)) singular values over their sum, falling; NaN for a table of zeros.
    spectra: np.ndarray
    effective_rank: np.ndarray  # (K,) from 1 to D


def compare_tables(model: MultiTaskModel) -> list[TableComparison]:
    """Compare the tables of a model of ours, all plain categorical fields together and field by field.

    Fields that share one vocabulary are one field, and fields with pretrained vectors or numbers are
    left out, as is a field without an id to compare. A model of another package is a ConfigError.
    """
    embedding = getattr(model, "embedding_layer", None)
    if not isinstance(embedding, TaskEmbedding):
        raise ConfigError(
            f"The tables of a {type(model).__name__} cannot be compared: its embedding_layer is "
            f"no TaskEmbedding. Give a model of fuxictr_stem."
        )
    count = embedding.num_tables
    names = [owner or SHARED for owner in stream_owners(model_labels(model), count)]
    return [compare(field, names, tables) for field, tables in _tables(embedding)]


def compare(field: str, names: list[str], tables_KVD: np.ndarray) -> TableComparison:
    """Compare K tables, whose owners are ``names``, that hold the same ids in the same rows, (K, V, D).

    Example:
        >>> compare("item", ["like", "shared"], np.stack([np.eye(3), -np.eye(3)])).cosine
        array([[ 1., -1.],
               [-1.,  1.]])
    """
    tables = tables_KVD.astype(np.float64)
    singular = np.stack([np.linalg.svd(table, compute_uv=False) for table in tables])
    with np.errstate(invalid="ignore", divide="ignore"):
        spectra = singular / singular.sum(axis=1, keepdims=True)
        entropy = -(spectra * np.log(np.where(spectra > 0, spectra, 1))).sum(axis=1)
    return TableComparison(
        field, names, tables.shape[1], _cosine(tables), _cka(tables), spectra, np.exp(entropy)
    )


def _tables(embedding: TaskEmbedding) -> Iterator[tuple[str, np.ndarray]]:
    """Yield fields with their tables, (K, V, D): those together first."""
    tables: dict[tuple[int, int], tuple[str, np.ndarray]] = {}
    for name, (number, vocab) in embedding.vocab_of.items():
        module = cast("FieldTables", embedding.tables[number])
        rows = module.rows(vocab)
        # The last id stands for all that is rare or unknown.
        weight = module.table.weight.detach()[rows.start : rows.stop - int(module.padded[vocab])]
        if len(weight):
            by_table = weight.view(len(weight), module.num_tables, -1).transpose(0, 1)
            tables.setdefault((number, vocab), (name, by_table.cpu().numpy()))
    for names in embedding.plain.values():
        places = list(dict.fromkeys(embedding.vocab_of[name] for name in names))
        together = [tables[place][1] for place in places if place in tables]
        if len(together) > 1:
            width = together[0].shape[-1]
            title = "all" if len(embedding.plain) == 1 else f"all of width {width}"
            yield title, np.concatenate(together, axis=1)
    yield from tables.values()


def _cosine(tables_KVD: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(tables_KVD, axis=2)
    unit = tables_KVD / np.where(norms > 0, norms, 1)[..., None]
    present = (norms > 0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.einsum("ivd,jvd->ij", unit, unit) / (present @ present.T)


def _cka(tables_KVD: np.ndarray) -> np.ndarray:
    centred = tables_KVD - tables_KVD.mean(axis=1, keepdims=True)
    # The largest is 1, so that small embeddings, squared twice, do not vanish.
    largest = np.abs(centred).max(axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore"):
        centred = centred / largest
    aligned = np.array([[np.square(x.T @ y).sum() for y in centred] for x in centred])
    scale = np.sqrt(np.diagonal(aligned))
    return aligned / np.outer(scale, scale)
