"""Inputs that others have met: small csv and parquet files with one or two odd things each.

`oracle.right_reading` says what is right for each; `fuzz_verdict` compares.
"""

from __future__ import annotations

import gzip
import io
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

SPLITS = ("train", "valid", "test")
POOLING = "layers.MaskedAveragePooling()"


class Raw(str):
    """Text that goes into a csv file as it is, without quotes being added."""


@dataclass(frozen=True)
class Input:
    """Files, the dataset config that reads them, and what was done.

    Attributes:
        seed: Makes it again.
        files: Content by path below the folder.
        dataset: The dataset config; its paths are relative to the folder.
        done: The odd things.
        lock: What holds the cache's files when it is opened again; "" for nothing.
    """

    seed: int
    files: dict[str, bytes]
    dataset: dict[str, Any]
    done: tuple[str, ...]
    lock: str = ""

    def __str__(self) -> str:
        files = "\n".join(f"  {name}: {_shown(name, c)}" for name, c in self.files.items())
        return f"seed {self.seed}: {', '.join(self.done)}\n{yaml.safe_dump(self.dataset)}{files}"

    def write(self, folder: Path) -> Path:
        """Write files and config into a folder; return that of the config."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        dataset = {**self.dataset, "data_root": str(folder / "caches")}
        for split in SPLITS:
            dataset[f"{split}_data"] = str(folder / dataset[f"{split}_data"])
        config = folder / "config"
        config.mkdir()
        (config / "dataset_config.yaml").write_text(yaml.safe_dump({"small": dataset}))
        return config


@dataclass
class Draft:
    """An input that is being made.

    Attributes:
        rng: All chance comes from it.
        format: ``csv`` or ``parquet``.
        dataset: The dataset config.
        parts: Rows of each file, by split; a row is a value by column.
        types: Types that a file's columns get, by split, part and column.
        lines: Changes the text of csv files: gets split, part and text.
        files: Further files, or others in the place of a split's, once they are written.
        moves: Changes the files and the dataset config at the end.
        header: Writes the header of a csv file.
        ends: Line end of csv files.
        lock: See `Input`.
    """

    rng: random.Random
    format: str
    dataset: dict[str, Any]
    parts: dict[str, list[list[dict[str, Any]]]] = field(default_factory=dict)
    types: dict[tuple[str, int, str], pa.DataType] = field(default_factory=dict)
    lines: list[Callable[[str, int, str], str]] = field(default_factory=list)
    moves: list[Callable[[dict[str, bytes]], None]] = field(default_factory=list)
    ends: str = "\n"
    lock: str = ""

    @property
    def sep(self) -> str:
        """Separator of the csv files."""
        return str(self.dataset.get("sep", ","))

    def rows(self, *splits: str) -> list[dict[str, Any]]:
        """Return all rows of some splits, or of all."""
        return [row for s in splits or SPLITS for part in self.parts[s] for row in part]

    def feature(self, name: str) -> dict[str, Any]:
        """Return the config of a feature or label."""
        columns = [*self.dataset["feature_cols"], *self.dataset["label_col"]]
        return next(col for col in columns if col["name"] == name)

    def names(self, *kinds: str, dtype: str | None = None) -> list[str]:
        """Return the features of some types that all files hold."""
        held = set.intersection(*({*row} for row in self.rows()))
        return [
            col["name"]
            for col in self.dataset["feature_cols"]
            if col["name"] in held and col["type"] in kinds and dtype in (None, col["dtype"])
        ]

    def written(self) -> dict[str, bytes]:
        """Return the files and set their paths in the config."""
        files: dict[str, bytes] = {}
        write = self._csv if self.format == "csv" else self._parquet
        for split, parts in self.parts.items():
            for i, rows in enumerate(parts):
                one = len(parts) == 1
                name = f"{split}.{self.format}" if one else f"{split}/part-{i}.{self.format}"
                files[name] = write(split, i, rows)
                self.dataset[f"{split}_data"] = name if one else split
        for move in self.moves:
            move(files)
        return files

    def _csv(self, split: str, part: int, rows: list[dict[str, Any]]) -> bytes:
        quote = self.dataset.get("csv_quote", '"')
        names = list(dict.fromkeys(name for row in rows for name in row))
        records = [names, *([row.get(name) for name in names] for row in rows)]
        text = "".join(
            self.sep.join(_cell(v, self.sep, quote) for v in record) + self.ends
            for record in records
        )
        for change in self.lines:
            text = change(split, part, text)
        return text.encode()

    def _parquet(self, split: str, part: int, rows: list[dict[str, Any]]) -> bytes:
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {}
        for name in names:
            values = [row.get(name) for row in rows]
            columns[name] = _array(values, self.types.get((split, part, name)))
        stream = io.BytesIO()
        pq.write_table(pa.table(columns), stream)
        return stream.getvalue()


def _shown(name: str, content: bytes) -> str:
    """Return what a file holds as text."""
    if not name.endswith(".parquet"):
        return repr(content)
    table = pq.read_table(io.BytesIO(content))
    types = ", ".join(f"{field.name} {field.type}" for field in table.schema)
    return f"{types}: {table.to_pylist()}"


def _array(values: list[Any], type_: pa.DataType | None) -> pa.Array:
    try:
        return pa.array(values, type_)
    except pa.ArrowException:
        # Two dimensions have met in one column.
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _cell(value: Any, sep: str, quote: str | None) -> str:
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, Raw) or not quote:
        return text
    if quote in text or sep in text or "\n" in text or "\r" in text:
        return quote + text.replace(quote, quote * 2) + quote
    return text


def make(seed: int) -> Input:
    """Make the input of a seed."""
    rng = random.Random(seed)
    draft = plain(rng)
    fitting = [n for n, d in DIMENSIONS.items() if draft.format in d.formats]
    done = []
    weights = [DIMENSIONS[name].weight for name in fitting]
    chosen = rng.choices(fitting, weights, k=rng.choice([0, 1, 1, 1, 1, 1, 2, 2]))
    places = [name for name in chosen if DIMENSIONS[name].place]
    for name in dict.fromkeys(name for name in chosen if name not in places[1:]):
        done.append(f"{name}: {DIMENSIONS[name].change(draft)}")
    files = draft.written()
    return Input(seed, files, draft.dataset, tuple(done), draft.lock)


# What a column usually holds.
USERS = ["u1", "u2", "u3", "u4", "ü5"]
TITLES = ["red tv", "pad", "desk"]
TOKENS = ["a", "b", "c", "dd"]


def plain(rng: random.Random) -> Draft:
    """Return a draft without anything odd: columns of every role, one to three files a split."""
    format_ = rng.choice(["csv", "csv", "parquet"])
    splitter = rng.choice("^^| ")
    features: list[dict[str, Any]] = [
        {"name": "user", "dtype": "str", "type": "categorical"},
        {"name": "item", "dtype": "int", "type": "categorical"},
        {"name": "price", "dtype": "float", "type": "numeric"},
        {"name": "tags", "dtype": "str", "type": "sequence", "splitter": splitter},
    ]
    features[3] |= {"feature_encoder": POOLING, "padding": rng.choice(["pre", "post"])}
    scaling = rng.choice([None, "StandardScaler", "MinMaxScaler"])
    if scaling:
        features[2]["normalizer"] = scaling
    if rng.random() < 0.3:
        features[3]["max_len"] = rng.choice([1, 2, 5])
    more: list[dict[str, Any]] = [
        {"name": "age", "dtype": "int", "type": "numeric"},
        {"name": "level", "dtype": "float", "type": "categorical"},
        {"name": "inviter", "dtype": "str", "type": "categorical", "share_embedding": "user"},
        {"name": "seen", "dtype": "int", "type": "categorical", "share_embedding": "item"},
        {"name": "friends", "dtype": "str", "type": "sequence", "share_embedding": "user"},
        {"name": "session", "dtype": "int", "type": "meta", "remap": False},
        {"name": "group", "dtype": rng.choice(["str", "int"]), "type": "meta"},
        {"name": "again", "dtype": "str", "type": "categorical", "preprocess": "copy_from(user)"},
    ]
    more[4] |= {"feature_encoder": POOLING, "splitter": splitter}
    features += rng.sample(more, rng.choice([0, 1, 2, 3]))
    for col in features:
        if col["type"] in ("categorical", "sequence") and rng.random() < 0.15:
            col["min_categr_count"] = 2
    gaps: list[dict[str, Any]] = [{}, {}, {"missing": math.nan}, {"fill_na": 0}]
    labels = [{"name": n, "dtype": "float", **rng.choice(gaps)} for n in ("click", "buy")]
    dataset = {"data_format": format_, "feature_cols": features, "label_col": labels}
    if rng.random() < 0.3:
        dataset["group_id"] = rng.choice(["user", "item"])
    if format_ == "csv" and rng.random() < 0.3:
        dataset["sep"] = rng.choice([";", "\t", "|" if splitter != "|" else ";"])
    draft = Draft(rng, format_, dataset, ends=rng.choice(["\n", "\n", "\r\n"]))
    names = {col["name"] for col in features}
    for split in SPLITS:
        count = rng.choice([1, 1, 1, 2, 3])
        draft.parts[split] = [
            [_row(rng, names, splitter, dataset) for _ in range(rng.choice([4, 5, 8]))]
            for _ in range(count)
        ]
    return draft


def _row(
    rng: random.Random, names: set[str], splitter: str, dataset: dict[str, Any]
) -> dict[str, Any]:
    tokens = [rng.choice(TOKENS) for _ in range(rng.choice([1, 1, 2, 3]))]
    row = {
        "user": rng.choice(USERS),
        "title": rng.choice(TITLES),
        "item": rng.choice([1, 2, 3, 12, -4]),
        "price": rng.choice([0.5, 1.25, -3.0, 7.0]),
        "tags": splitter.join(tokens),
        "age": rng.choice([20, 30, 41]),
        "level": rng.choice([0.5, 1.0, 2.0]),
        "inviter": rng.choice([*USERS, "u9"]),
        "seen": rng.choice([1, 2, 3, 99]),
        "friends": splitter.join(rng.sample(USERS, rng.choice([1, 2]))),
        "session": rng.choice([5, 6, 2**40]),
        "group": rng.choice([7, 8, 9]),
        "click": rng.choice([0, 1]),
        "buy": rng.choice([0, 1]),
    }
    for col in dataset["feature_cols"]:
        if col["name"] == "group" and col["dtype"] == "str":
            row["group"] = f"g{row['group']}"
    kept = {"user", "title", "item", "price", "tags", "click", "buy"} | names
    return {name: value for name, value in row.items() if name in kept - {"again"}}


Change = Callable[[Draft], str]


@dataclass(frozen=True)
class Dimension:
    """A way to make an input odd.

    Attributes:
        change: Changes a draft and says how.
        formats: The formats that it is for.
        weight: How often it is chosen.
        place: Whether it moves files; one of these is enough for an input.
    """

    change: Change
    formats: tuple[str, ...]
    weight: int
    place: bool


DIMENSIONS: dict[str, Dimension] = {}


def dimension(*formats: str, weight: int = 1, place: bool = False) -> Callable[[Change], Change]:
    """Register a way to make an input odd, by the name of its function."""

    def register(change: Change) -> Change:
        name = change.__name__.replace("_", " ")
        DIMENSIONS[name] = Dimension(change, formats or ("csv", "parquet"), weight, place)
        return change

    return register


def zipped(content: bytes) -> bytes:
    """Return a file as gzip writes it."""
    return gzip.compress(content, mtime=0)
