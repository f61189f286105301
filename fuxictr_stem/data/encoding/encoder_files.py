"""What an encoder knows, as plain data and as files: ``encoder.json``, and one Arrow file per vocabulary.

A vocabulary file has the columns ``token``, sorted, and ``id``. It is not compressed, so that it is mapped
into memory and five million tokens are there at once.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxictr_stem.config.column_words import CATEGORICAL, META
from fuxictr_stem.data.encoding.column_encoders import (
    Encoder,
    Feature,
    Normalizer,
    column_encoder,
    of_written_numbers,
    plain,
)
from fuxictr_stem.data.encoding.fill_values import missing_values
from fuxictr_stem.data.encoding.vocabulary import Vocabulary
from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.data.source.dialect import Dialect
from fuxictr_stem.data.source.source_column import SPLITTER, TYPES, Column
from fuxictr_stem.data.source.split_files import whole_number
from fuxictr_stem.errors import ConfigError, DataError, suggest
from fuxictr_stem.runtime.whole_folder import (
    Damaged,
    OtherFormat,
    check_files,
    fresh_folder,
    put_in_place,
    read_account,
    sealed,
)

ENCODER = "encoder.json"
FORMAT = 1
ENCODER_FOLDER = "encoder"
"""The folder of the encoder in a run's folder."""
FILES = re.compile(r"encoder\.json|vocabulary_\d+\.arrow")
"""The names of an encoder's files."""

_FEATURE_KEYS = ("name", "type", "active", "dtype", "fill_na", "preprocess", "share_embedding")
_DERIVED_KEYS = ("name", "type", "dtype", "fill_na", "preprocess", "splitter")


@dataclass(frozen=True)
class Fitted:
    """The state of an encoder."""

    plan: Plan  # how the columns are read, and what missing values become
    features: list[Feature]  # what fitting has found out about each feature
    vocabularies: list[Vocabulary]  # the vocabularies that these name
    functions: dict[str, str]  # the identity of each preprocess function

    @cached_property
    def by_name(self) -> dict[str, Feature]:
        """The features by name."""
        return {feature.name: feature for feature in self.features}

    def feature(self, name: str) -> Feature:
        """Return a feature.

        Raises:
            ConfigError: There is none of this name.
        """
        if name not in self.by_name:
            raise ConfigError(f"There is no feature {name!r}.{suggest(name, self.by_name)}")
        return self.by_name[name]

    def words(self, name: str) -> Vocabulary | None:
        """Return the vocabulary of a feature, if it has one."""
        place = self.feature(name).vocabulary
        return None if place is None else self.vocabularies[place]

    def column_encoders(
        self,
        features: Collection[str],
        labels: Collection[str],
        rows: float,
        whole: Collection[str],
    ) -> list[Encoder]:
        """Return the encoders of some features and labels, for about so many rows (inf: as in training).

        ``whole`` are the columns declared text of which there are the numbers, too.
        """
        fills, encoders = missing_values(self.plan), []
        for name in features:
            feature, words = self.feature(name), self.words(name)
            column = "" if name in self.plan.made else self.plan.source_of(name).name
            is_whole = column in whole and feature.kind in (CATEGORICAL, META)
            if is_whole and words is not None and not words.is_searched(rows):
                numbers = whole_number(column)
                encoders.append(of_written_numbers(feature, words, numbers, fills[name]))
            else:
                encoders.append(column_encoder(feature, words, rows))
        return encoders + [plain(name, np.dtype(np.float32)) for name in labels]


def write_encoder(folder: Path, fitted: Fitted) -> None:
    """Write an encoder into a folder, ``encoder.json`` last.

    Raises:
        OSError: It cannot be written.
    """
    files = []
    for number, words in enumerate(fitted.vocabularies):
        files.append(folder / f"vocabulary_{number}.arrow")
        frame = pl.DataFrame({"token": words.tokens, "id": words.ids[:-1].astype(np.int64)})
        # In one piece, so that it is mapped as one.
        frame.sort("token").write_ipc(
            files[-1], compression="uncompressed", record_batch_size=max(frame.height, 1)
        )
    content = {
        "format": FORMAT,
        "plan": _plan_as_json(fitted.plan),
        "features": [dataclasses.asdict(feature) for feature in fitted.features],
        "unknown": [int(words.unknown) for words in fitted.vocabularies],
        "functions": fitted.functions,
    }
    text = json.dumps(sealed(content, files), indent=1)
    (folder / ENCODER).write_text(text, encoding="utf-8")


def read_encoder(folder: Path) -> Fitted:
    """Read an encoder from a folder.

    Raises:
        DataError: There is none, or a file is damaged, absent or of another version; it is named.
        AccessError: The system does not let a file be read.
    """
    try:
        account = read_account(folder / ENCODER, FORMAT)
        check_files(folder, _files(folder, account))
        return _fitted(folder, account)
    except OtherFormat as error:
        raise DataError(f"{error}: it was written by another version of fuxictr_stem.") from error
    except Damaged as error:
        raise DataError(f"{error}. Copy the folder again, or train again.") from error
    except (KeyError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{folder / ENCODER} is not an encoder ({error!r}).") from error


def copy_encoder(folder: Path, place: Path) -> None:
    """Copy the encoder in a folder, so that it appears whole at a place where nothing may be yet.

    Raises:
        OSError: It cannot be written.
        Damaged: The encoder has no account of its files.
    """
    names = [ENCODER, *_files(folder, read_account(folder / ENCODER, FORMAT))]
    with fresh_folder(place) as fresh:
        for name in names:
            shutil.copyfile(folder / name, fresh / name)
        put_in_place(fresh, place)


def _files(folder: Path, account: Mapping[str, Any]) -> dict[str, Any]:
    files = account["files"]
    if not all(map(FILES.fullmatch, files)):
        raise Damaged(f"{folder / ENCODER} names files that do not belong to an encoder")
    return files


def _fitted(folder: Path, account: Mapping[str, Any]) -> Fitted:
    scalers = [f["normalizer"] and Normalizer(*f["normalizer"]) for f in account["features"]]
    of_features = zip(account["features"], scalers, strict=True)
    features = [Feature(**{**feature, "normalizer": scaler}) for feature, scaler in of_features]
    vocabularies = []
    for number, unknown in enumerate(account["unknown"]):
        name = f"vocabulary_{number}.arrow"
        if name not in account["files"]:
            raise Damaged(f"{folder / ENCODER} has no account of {name}")
        # A file: in a path, polars takes brackets for a pattern.
        with (folder / name).open("rb") as file:
            frame = pl.read_ipc(file, memory_map=True)
        vocabularies.append(Vocabulary(frame["token"], frame["id"].to_numpy(), unknown, True))
    return Fitted(_plan_of(account["plan"]), features, vocabularies, account["functions"])


def _plan_as_json(plan: Plan) -> dict[str, Any]:
    # Paths of pretrained files and what concerns models alone are left out.
    features = [
        {
            **{key: col[key] for key in _FEATURE_KEYS if key in col},
            "splitter": col.get("splitter", SPLITTER),
        }
        for col in plan.features
    ]
    derived = [{key: col[key] for key in _DERIVED_KEYS if key in col} for col in plan.derived]
    return {**dataclasses.asdict(plan), "features": features, "derived": derived}


def _plan_of(content: Mapping[str, Any]) -> Plan:
    for col in content["features"]:
        if col["dtype"] not in (*TYPES, "list"):
            raise ValueError(f"{col['dtype']} is no dtype")
    columns = []
    for column in content["columns"]:
        tuples = {key: tuple(column[key]) for key in ("null_values", "kinds")}
        pair = column["combines"]
        columns.append(Column(**{**column, **tuples, "combines": pair and tuple(pair)}))
    changed = {
        "dialect": Dialect(**content["dialect"]),
        "null_values": tuple(content["null_values"]),
        "columns": tuple(columns),
        "derived": tuple(content["derived"]),
    }
    return Plan(**{**content, **changed})
