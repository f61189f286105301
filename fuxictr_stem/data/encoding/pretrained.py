"""Files of pretrained vectors, checked before FuxiCTR reads them, and compared with the tokens of train."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_stem.data.encoding.remarks import Remark, no_vectors
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.data.source.source_column import RESERVED
from fuxictr_stem.errors import DataError, raise_all, short
from fuxictr_stem.models.pretrained_vectors import read_pretrained

logger = logging.getLogger(__name__)

_TOKENS = {"str": "text", "int": "plain whole numbers of 64 bits", "float": "plain floats"}


def check_pretrained(plan: Plan) -> None:
    """Reject pretrained files that FuxiCTR would stop at half-way, or read as other keys."""
    problems = []
    for col in plan.features:
        if "pretrained_emb" in col:
            path = Path(col["pretrained_emb"])
            about = f"pretrained_emb of column {col['name']!r}, {path}"
            try:
                problems += [f"{about}: {text}" for text in _problems(path, col)]
            except DataError as error:
                problems.append(f"{about}: {error}")
            except Exception:  # noqa: BLE001  each reader has its own kinds of error
                wanted = f"{path.suffix} with keys of dtype {col['dtype']}"
                problems.append(f"{about}: cannot be read as {wanted} and vectors of numbers.")
    raise_all(DataError, f"dataset {plan.dataset_id!r}", problems)


def _problems(path: Path, col: Mapping[str, Any]) -> list[str]:
    keys, vectors = read_pretrained(path)
    problems = _key_problems(keys, col["dtype"])
    vectors = np.stack(list(vectors)).astype(np.float32)
    width = col.get("pretrain_dim", vectors.shape[-1])
    if vectors.ndim != 2 or len(vectors) != len(keys) or vectors.shape[1] != width:
        problems.append(
            f"needs one vector of pretrain_dim {width} for each of its {len(keys):,} keys, but "
            f"'value' has shape {vectors.shape}."
        )
    elif not np.isfinite(vectors).all():
        problems.append("its vectors hold NaN or infinite values.")
    return problems


def match_pretrained(plan: Plan, processor: Any) -> Iterator[Remark]:
    """Log how many tokens of train have a pretrained vector, after fit; yield a remark where none has."""
    for col in plan.features:
        if "pretrained_emb" in col and col["active"]:
            vocab = processor.processor_dict[f"{col['name']}::tokenizer"].vocab
            last = processor.feature_map.features[col["name"]]["oov_idx"]
            keys = read_pretrained(Path(col["pretrained_emb"]))[0].astype(col["dtype"]).tolist()
            count = sum(0 < vocab.get(key, 0) < last for key in keys)
            text = "Column %s: %s of %s tokens of train have a pretrained vector."
            logger.info(text, col["name"], f"{count:,}", f"{last - 1:,}")
            if not count:
                tokens = [token for token, id_ in vocab.items() if 0 < id_ < last]
                yield no_vectors(col["name"], tokens, keys)


def _key_problems(keys: Array, dtype: str) -> list[str]:
    """Return what is wrong with keys as the tokens that FuxiCTR makes of them.

    It converts keys to the column's dtype whatever becomes of them, 1.7 to 1 and NaN to -2^63, and keeps
    one of the vectors of a key that appears twice. numpy's own errors at keys pass through.
    """
    if keys.ndim != 1:
        return [f"needs a list of keys, but 'key' has shape {keys.shape}."]
    with np.errstate(invalid="ignore"):  # such keys are found below
        tokens: Array = keys.astype(dtype)
    altered = np.flatnonzero(_altered(keys, tokens))
    if len(altered):
        return [
            f"{len(altered):,} of its {len(keys):,} keys are not {_TOKENS[dtype]}, as the column's "
            f"dtype {dtype} wants, the first at position {altered[0]:,}: "
            f"{short(keys.tolist()[altered[0]])}. Write the keys as the column's values are."
        ]
    reserved = [token for token in RESERVED if dtype == "str" and token in tokens]
    if reserved:
        return [f"its key {reserved[0]!r} is FuxiCTR's own token. Leave it out, with its vector."]
    distinct, first_places, counts = np.unique(tokens, return_index=True, return_counts=True)
    repeated = np.flatnonzero(counts > 1)
    if len(repeated):
        first = repeated[first_places[repeated].argmin()]
        return [
            f"{len(repeated):,} of its keys appear more than once, such as "
            f"{short(distinct[first].item())} ({counts[first]:,} times). Keep one vector per key."
        ]
    return []


def _altered(keys: Array, tokens: Array) -> Array:
    """Mark keys that are not themselves as tokens: floats by value, others by how they are written."""
    if keys.dtype.kind == "f":
        values = keys.astype(np.float64)
        kept = np.isfinite(values)
        if tokens.dtype.kind == "i":
            # Beyond int64 it depends on the processor what a float becomes.
            kept &= (np.abs(values) < 2.0**63) & (tokens == values)
        return ~kept
    if keys.dtype.kind in "iu" and tokens.dtype.kind == "i":
        return keys > np.iinfo(tokens.dtype).max
    altered = keys.astype(str, copy=False) != tokens.astype(str, copy=False)
    if keys.dtype.kind == "O":
        altered |= np.array([key is None for key in keys])
    return altered
