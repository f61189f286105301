"""The folder of an exported run: what is in it, and whether it is complete. Needs no torch and no FuxiCTR.

``manifest.json`` is the account of all other files (`runtime.whole_folder`) but those of the encoder, whose
own account it has. Besides, it holds

- ``experiment``, ``dataset``, ``model``, ``versions``, and how ``tables`` and ``network`` are stored;
- ``tasks``: of each its ``label``, ``type``, and ``output``, the name of its scores;
- ``inputs``: of each its ``name``, ``type``, ``dtype``, ``width`` (0 for one value per row) and, where it
  holds ids, ``ids``, how many there are, and ``unknown``, what every other id is read as;
- ``columns``: the raw columns that the encoder reads for them;
- ``opset`` of ``model.onnx``, and the ``machine`` that ``aot.pt2`` is for, if they are there;
- ``rows``: raw rows, of each its ``columns`` and the ``scores`` that it must get.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from fuxictr_stem.errors import DataError, raise_all
from fuxictr_stem.runtime.whole_folder import Damaged, OtherFormat, file_damage, read_account

MANIFEST = "manifest.json"
ENCODER = "encoder"
ENCODER_ACCOUNT = "encoder.json"
WEIGHTS = "model.safetensors"
ONNX = "model.onnx"
ONNX_DATA = "model.onnx.data"
PROGRAM = "program.pt2"
AOT = "aot.pt2"

FORMAT = 1
TOLERANCES = {"float32": 1e-5, "int8": 1e-3}
"""By how much scores may differ, by how the network is stored: absolutely, above 1 relatively.

A number that one kind of CPU rounds up and another down differs by a 127th of its block's largest."""

_AGAIN = "Export the run again: python -m fuxictr_stem export --run RUN_FOLDER --out DIR."


def check_export(folder: Path, names: Collection[str] | None = None) -> dict[str, Any]:
    """Check every byte of an exported folder's files, or of the named ones; return its manifest.

    Whoever opens the encoder checks its files; here, its account must be this export's. A DataError says
    what is missing, or has changed.
    """
    if not (folder / MANIFEST).exists():
        raise DataError(f"{folder} holds no exported run: there is no {MANIFEST}. {_AGAIN}")
    try:
        manifest = read_account(folder / MANIFEST, FORMAT)
    except OtherFormat as damage:
        raise DataError(
            f"{damage}: it is from another version of fuxictr_stem. {_AGAIN}"
        ) from damage
    except Damaged as damage:
        raise DataError(f"{damage}. {_AGAIN}") from damage
    files = {n: file for n, file in manifest["files"].items() if names is None or n in names}
    files[f"{ENCODER}/{ENCODER_ACCOUNT}"] = manifest["encoder"]
    damages = [file_damage(folder / name, account) for name, account in files.items()]
    if problems := [damage for damage in damages if damage]:
        raise_all(DataError, f"The exported run {folder} is damaged", [*problems, _AGAIN])
    return manifest
