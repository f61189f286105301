"""Files of pretrained vectors, read as FuxiCTR reads them, but only where the data are their own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import polars as pl
import torch
from torch import Tensor

from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.runtime.h5_files import local_dataset

Array: TypeAlias = np.ndarray[Any, Any]

_ARRAYS = ("key", "value")


def read_vectors(name: str, spec: dict[str, Any], data_dir: str | None, width: int) -> Tensor:
    """Read a field's pretrained vectors by id, (V, P), with P ``width``.

    As in FuxiCTR, a token without a vector gets zeros where vectors are frozen, else N(0, 1e-4). The
    folder ``data_dir`` has the file and feature_vocab.json; None gives zeros, for weights to be loaded.

    Raises:
        ConfigError: If the file's vectors have another length, or none belongs to a token.
        DataError: If the vectors lie in another file.
    """
    table = torch.zeros(spec["vocab_size"], width)
    if data_dir is None:
        return table
    path = Path(data_dir) / spec["pretrained_emb"]
    keys, vectors = read_pretrained(path)
    vectors = np.stack(list(vectors)).astype(np.float32)
    if vectors.shape[1:] != (width,):
        default = (
            "" if "pretrain_dim" in spec else ", the embedding_dim, since the config names none"
        )
        raise ConfigError(
            f"pretrain_dim of {name!r} is {width}{default}, but the vectors in {path} have length "
            f"{vectors.shape[-1]}. Set pretrain_dim: {vectors.shape[-1]}."
        )
    if not spec["freeze_emb"]:
        table.normal_(std=1e-4)
    vocab = json.loads((Path(data_dir) / "feature_vocab.json").read_text(encoding="utf-8"))[name]
    # The keys of a JSON object are text, whatever the tokens were; FuxiCTR's fit has given every key
    # of the file an id, whole numbers without a point where the column's are.
    texts = [np.asarray(keys).astype(str)]
    if np.asarray(keys).dtype.kind == "f":
        texts.append(np.asarray(keys).astype(np.int64).astype(str))
    ids = max(
        (np.array([vocab.get(t, -1) for t in text]) for text in texts), key=lambda x: sum(x >= 0)
    )
    if not (ids >= 0).any():
        raise ConfigError(
            f"pretrained_emb of {name!r}: none of the {len(ids):,} keys in {path}, such as "
            f"{texts[0][0]!r}, is in the vocabulary. Write the keys as the column's values are."
        )
    table[torch.as_tensor(ids[ids >= 0])] = torch.from_numpy(vectors[ids >= 0])
    return table


def read_pretrained(path: Path) -> tuple[Array, Array]:
    """Return the arrays ``key``, (N,), and ``value`` of a .h5, .npz or .parquet file.

    Raises:
        DataError: One of the two is missing, lies in another file, or holds Python objects.
        Exception: Whatever the format's reader raises at a file of another format.
    """
    if path.suffix == ".parquet":
        _check_names(pl.read_parquet_schema(path))
        frame = pl.read_parquet(path, columns=list(_ARRAYS), glob=False)
        keys, vectors = (frame[name].to_numpy() for name in _ARRAYS)
    elif path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            _check_names(file)
            keys, vectors = (_of_h5(file, name) for name in _ARRAYS)
    else:
        with np.load(path, allow_pickle=False) as arrays:
            _check_names(arrays.files)
            keys, vectors = _of_npz(arrays)
    return keys, vectors


def _check_names(names: Iterable[str]) -> None:
    if not set(names).issuperset(_ARRAYS):
        there = ", ".join(sorted(names)) or "nothing"
        raise DataError(f"needs the arrays 'key' and 'value', holds {there}.")


def _of_h5(file: h5py.File, name: str) -> Array:
    data = local_dataset(file, name)
    if data.dtype.kind not in "iufS" and not h5py.check_string_dtype(data.dtype):
        raise DataError(f"{name!r} holds {data.dtype}, neither numbers nor text: rejected.")
    return np.asarray(data[:])


def _of_npz(arrays: np.lib.npyio.NpzFile) -> tuple[Array, Array]:
    arrays_read, pickled = [], []
    for name in _ARRAYS:
        try:
            arrays_read.append(arrays[name])
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            pickled.append(name)
    if pickled:
        raise DataError(
            f"{' and '.join(map(repr, pickled))} {'is' if len(pickled) == 1 else 'are'} stored as Python "
            "objects (pickled), which could run code when read, so they never are. Save plain arrays: "
            "np.savez(path, key=np.array(keys.tolist()), value=np.stack(list(vectors)))."
        )
    return arrays_read[0], arrays_read[1]
