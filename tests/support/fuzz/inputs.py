"""CSV and parquet files as nobody wants them, for one small dataset config."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from hypothesis import strategies as st

from fuxictr_stem.config.dataset_config import load_dataset
from fuxictr_stem.data.cache.open_cache import open_cache
from tests.support.datasets import assert_same, cached, fuxictr_says
from tests.support.fuzz.outcome import EXPID, RAN, RAN_AS_FUXICTR, Counts, explore, run_whole
from tests.support.fuzz.verdict import difference
from tests.support.oracle.files import NoReading
from tests.support.oracle.rows_and_ids import right_reading

SPLITS = ("train", "valid", "test")
MODEL = {
    "model": "SharedBottom",
    "dataset_id": "small",
    "metrics": ["logloss", "AUC"],
    "epochs": 1,
    "batch_size": 4,
    "embedding_dim": 2,
    "bottom_hidden_units": [3],
    "tower_hidden_units": [2],
    "verbose": 0,
}
FEATURES = [
    {"name": "user", "dtype": "str", "type": "categorical"},
    {"name": "item", "dtype": "int", "type": "categorical"},
    {"name": "price", "dtype": "float", "type": "numeric", "normalizer": "StandardScaler"},
    {"name": "tags", "dtype": "str", "type": "sequence", "splitter": "^"},
]
FEATURES[3]["feature_encoder"] = "layers.MaskedAveragePooling()"
LABELS = [{"name": "click", "dtype": "float"}, {"name": "buy", "dtype": "float"}]
COLUMNS = ("user", "item", "price", "tags", "click", "buy")

# A column's usual values, and others; in a CSV file each is written as its text.
USUAL: dict[str, list[Any]] = {
    "user": ["u1", "u2", "u3", "ü"],
    "item": [1, 2, 3, -4],
    "price": [0.5, 1.25, -3.0, 7.0],
    "tags": ["a", "a^b", "b^c^a", ""],
    "click": [0, 1],
    "buy": [0, 1],
}
_TEXT = [None, "", " ", "a,b", 'say "x"', '"', "two\nlines", "a\r\nb", "x" * 70_000, "NaN", "null"]
_TEXT += ["日本", "\t", "'", "\\", "__PAD__", "__OOV__", "\x00", "^", "^^", "#", "🦊", "\x1a"]
_NUMBERS = [None, "", " ", "abc", "NaN", "nan", "inf", "-inf", "1e400", "1e308", "1e39", "1e-320"]
_NUMBERS += ["-0.0", "007", "+7", " 7 ", "7.0", "7.5", "1e3", "1,5", "0x10", "1_000", "٣", "true"]
_NUMBERS += [2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30, "9" * 400]
ODD: dict[str, list[Any]] = {
    **dict.fromkeys(("user", "tags"), [*_TEXT, *_NUMBERS]),
    **dict.fromkeys(("item", "price"), [*_NUMBERS, *_TEXT[:9]]),
    **dict.fromkeys(("click", "buy"), [*_NUMBERS, 2, -1, 0.5, "1.0", "yes"]),
}

# Types that a parquet file may give a column, and how its usual values become them.
PARQUET: dict[str, Any] = {
    "int8": pl.Int8,
    "uint64": pl.UInt64,
    "float32": pl.Float32,
    "text": pl.String,
    "bool": pl.Boolean,
    "decimal": pl.Decimal(20, 2),
    "categorical": pl.Categorical,
    "binary": pl.Binary,
    "date": pl.Date,
    "datetime": pl.Datetime("us", "UTC"),
    "duration": pl.Duration("ms"),
    "null": pl.Null,
    "list of text": pl.List(pl.String),
    "list of lists": pl.List(pl.List(pl.Int64)),
    "array": pl.Array(pl.Float64, 2),
    "struct": pl.Struct({"a": pl.Int64}),
    "enum": pl.Enum(["u1", "u2", "u3", "ü", "1"]),
}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Example:
    """Files and what was done to them.

    Attributes:
        files: Content by path below the folder; a path that ends with ``/`` is an empty folder.
        done: The changes, in words.
        dataset: Changes to the dataset config.
    """

    files: dict[str, bytes]
    done: tuple[str, ...]
    dataset: dict[str, Any]

    def __str__(self) -> str:
        """Return everything that is needed to try it again."""
        files = "\n".join(f"  {name!r}: {content!r}," for name, content in self.files.items())
        return f"done = {self.done}\ndataset = {self.dataset}\nfiles = {{\n{files}\n}}"

    def write(self, folder: Path) -> dict[str, Any]:
        """Write files and configs into a folder; return the dataset config."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if name.endswith("/") else path.write_bytes(content)
        dataset: dict[str, Any] = {
            "data_root": str(folder / "data"),
            "feature_cols": FEATURES,
            "label_col": LABELS,
            "group_id": "user",
            **self.dataset,
        }
        for split in SPLITS:
            dataset[f"{split}_data"] = str(folder / dataset[f"{split}_data"])
        config = folder / "config"
        config.mkdir()
        model = {**MODEL, "model_root": str(folder / "checkpoints")}
        (config / "model_config.yaml").write_text(yaml.safe_dump({EXPID: model}))
        (config / "dataset_config.yaml").write_text(yaml.safe_dump({"small": dataset}))
        return dataset


def outcome(example: Example, folder: Path) -> str:
    """Run an example in a folder; compare its ids with FuxiCTR's, where that can read the files.

    Returns:
        As `run_whole`.
    """
    example.write(folder)
    result = run_whole(folder)
    if result != RAN:
        return result
    _assert_right(folder)
    return RAN_AS_FUXICTR if _same_as_fuxictr(folder) else result


def _assert_right(folder: Path) -> None:
    """Hold every row, label and id of a run's cache against the oracle's."""
    dataset = load_dataset(folder / "config", "small")
    try:
        right = right_reading(dataset)
    except NoReading as error:
        raise AssertionError(f"read, although: {error}") from error
    cache = open_cache(dataset)
    wrong = difference(right, cached(cache), cache.rows)
    assert not wrong, wrong


def _same_as_fuxictr(folder: Path) -> bool:
    schemas = [pl.read_parquet_schema(path) for path in folder.glob("*.parquet") if path.is_file()]
    if any(schema != schemas[0] for schema in schemas):
        # To FuxiCTR the text "1" of one split and the number 1 of another are two tokens; ours are of
        # the declared dtype.
        return False
    dataset = {"sep": ",", "min_categr_count": 1, **load_dataset(folder / "config", "small")}
    try:
        said, _ = fuxictr_says(dataset, folder / "oracle")
    except (Exception, pl.exceptions.PanicException):
        # FuxiCTR's errors are of any kind; it reads less than ours.
        return False
    assert_same(cached(open_cache(dataset)), said)
    return True


def explore_inputs(count: int, start: int | None = None) -> Counts:
    """Try many inputs; see `explore`."""
    return explore(examples(), outcome, count, start)


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """Rows of each split: usual ones, some with odd values, columns or classes."""
    done: list[str] = []
    splits: dict[str, Rows] = {}
    for split in SPLITS:
        number = draw(st.sampled_from([8] * 18 + [1, 0]))
        rows = [
            {name: draw(st.sampled_from(USUAL[name])) for name in COLUMNS} for _ in range(number)
        ]
        for i, row in enumerate(rows):
            # Both classes, so that the odd values are what counts.
            row["click"], row["buy"] = i % 2, i // 2 % 2
        splits[split] = rows
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 1, 2]))):
        change = draw(st.sampled_from(_CHANGES))
        split = draw(st.sampled_from(SPLITS))
        name = draw(st.sampled_from([*COLUMNS, *COLUMNS[:4] * 2]))
        rows = splits[split]
        done.append(f"{change} of {name} in {split}")
        if change == "odd values":
            for row in rows:
                if draw(st.booleans()):
                    row[name] = draw(st.sampled_from(ODD[name]))
        elif change == "one odd value" and rows:
            draw(st.sampled_from(rows))[name] = draw(st.sampled_from(ODD[name]))
        elif change == "one value":
            value = draw(st.sampled_from([*USUAL[name], *ODD[name]]))
            for row in rows:
                row[name] = value
        elif change == "few rows":
            del rows[draw(st.integers(0, 2)) :]
        elif change == "column missing":
            for row in rows:
                row.pop(name, None)
        elif change == "column more":
            for row in rows:
                row[draw(st.sampled_from(["extra", "", "user ", "Ünö", "a\nb"]))] = 1
        elif change == "unseen":
            for row in rows:
                row["user"], row["item"], row["tags"] = "new", 99, "new^new"
    return splits, tuple(done)


_CHANGES = ["odd values", "odd values", "one odd value", "one odd value", "one value", "unseen"]
_CHANGES += ["column missing", "column more", "few rows"]


@st.composite
def csv_examples(draw: st.DrawFn) -> Example:
    """CSV files in several dialects and encodings, whole or not."""
    splits, done = draw(tables())
    dialect = {
        "delimiter": draw(st.sampled_from(",,,;\t|")),
        "lineterminator": draw(st.sampled_from(["\n"] * 8 + ["\r\n"] * 4 + ["\r"])),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    }
    files = {f"{split}.csv": _csv(rows, dialect) for split, rows in splits.items()}
    dataset: dict[str, Any] = {f"{split}_data": f"{split}.csv" for split in SPLITS}
    dataset["sep"] = draw(st.sampled_from([dialect["delimiter"]] * 5 + [","]))
    told = f"{dialect}, read with {dataset['sep']!r}"
    example = Example(files, (*done, told), dataset)
    return draw(_damaged(example, _CSV_DAMAGE))


@st.composite
def parquet_examples(draw: st.DrawFn) -> Example:
    """Parquet files with columns of any type, whole or not."""
    splits, done = draw(tables())
    told: list[str] = []
    wanted = {
        draw(st.sampled_from(COLUMNS)): draw(st.sampled_from(list(PARQUET)))
        for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2])))
    }
    where = draw(st.sampled_from([SPLITS, SPLITS, ("train",), ("test",)]))
    files = {}
    for split, rows in splits.items():
        frame = _frame(rows)
        for name, type_ in wanted.items() if split in where else ():
            if name in frame.columns:
                frame = frame.with_columns(_as(frame[name], PARQUET[type_]))
                told.append(f"{name} as {type_} in {split}")
        stream = io.BytesIO()
        frame.write_parquet(stream)
        files[f"{split}.parquet"] = stream.getvalue()
    dataset: dict[str, Any] = {f"{split}_data": f"{split}.parquet" for split in SPLITS}
    dataset["data_format"] = "parquet"
    example = Example(files, (*done, *told), dataset)
    return draw(_damaged(example, _DAMAGE))


def examples() -> st.SearchStrategy[Example]:
    """CSV and parquet files, as many of each."""
    return st.one_of(csv_examples(), parquet_examples())


def _csv(rows: Rows, dialect: dict[str, Any]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(COLUMNS)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, **dialect)
    writer.writerow(names)
    writer.writerows([row.get(name) for name in names] for row in rows)
    return stream.getvalue().encode()


def _frame(rows: Rows) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(COLUMNS)
    columns = []
    for name in names:
        values = [row.get(name) for row in rows]
        kinds = {type(value) for value in values} - {type(None)}
        if not kinds <= {int} or any(v is not None and abs(v) >= 2**63 for v in values):
            if kinds <= {float, int}:
                values = [None if v is None else float(v) for v in values]
            else:
                values = [None if v is None else str(v) for v in values]
        columns.append(pl.Series(name, values))
    return pl.DataFrame(columns)


def _as(values: pl.Series, type_: Any) -> pl.Series:
    """Return values of a type, made from the old ones where they can be."""
    made: dict[Any, Any] = {
        pl.Date: date(2024, 1, 2),
        pl.Datetime: datetime(2024, 1, 2),
        pl.Decimal: Decimal("1.25"),
        pl.List(pl.String): ["a", None, "b^c"],
        pl.List(pl.List(pl.Int64)): [[1], [2, 3]],
        pl.Array: [1.0, 2.0],
        pl.Struct: {"a": 1},
        pl.Binary: b"\xff\x00",
    }
    for kind, value in made.items():
        if type_ == kind or (isinstance(kind, type) and isinstance(type_, kind)):
            return pl.Series(values.name, [value] * len(values), dtype=type_)
    if type_ == pl.Categorical or isinstance(type_, pl.Enum):
        values = values.cast(pl.String)
    try:
        return values.cast(type_, strict=False)
    except pl.exceptions.InvalidOperationError:
        # Not of these types at all, whatever the values.
        return pl.Series(values.name, [None] * len(values), dtype=type_)


_DAMAGE = ["cut off", "empty", "zeros", "folder", "parts", "gz", "missing", "byte"]
_CSV_DAMAGE = [*_DAMAGE, "header only", "no header", "doubled header", "utf-16", "latin-1", "bom"]
_CSV_DAMAGE += ["blank lines", "too long a row", "no last line end", "open quote"]


@st.composite
def _damaged(draw: st.DrawFn, example: Example, kinds: list[str]) -> Example:
    if draw(st.sampled_from([True] * 5 + [False])):
        return example
    kind = draw(st.sampled_from(kinds))
    files = dict(example.files)
    dataset = dict(example.dataset)
    split = draw(st.sampled_from(SPLITS))
    name = dataset[f"{split}_data"]
    content = files[name]
    lines = content.splitlines(keepends=True)
    sep = dataset.get("sep", ",").encode()
    changed = {
        "cut off": content[: int(len(content) * draw(st.floats(0.05, 0.99)))],
        "empty": b"",
        "zeros": bytes(len(content)),
        "gz": gzip.compress(content, mtime=0),
        "byte": _flipped(content, draw(st.floats(0, 0.999))),
        "header only": lines[0] if lines else b"",
        "no header": b"".join(lines[1:]),
        "doubled header": b"".join(lines[:1] + lines),
        "utf-16": content.decode(errors="replace").encode("utf-16"),
        "latin-1": content.decode(errors="replace").encode("latin-1", errors="replace") + b"\xe9",
        "bom": b"\xef\xbb\xbf" + content,
        "blank lines": content.replace(b"\n", b"\n\n"),
        "too long a row": content + sep.join([b"1"] * 9) + b"\n",
        "no last line end": content.rstrip(b"\r\n"),
        "open quote": content + b'"u1' + sep + b"1\n",
    }
    if kind in changed:
        files[name] = changed[kind]
    else:
        del files[name]
    if kind == "folder":
        files[f"{name}/"] = b""
    elif kind == "parts":
        dataset[f"{split}_data"] = split
        suffix = Path(name).suffix
        files |= {f"{split}/part-{i}{suffix}": content for i in range(2)}
    return replace(example, files=files, dataset=dataset, done=(*example.done, f"{kind}: {split}"))


def _flipped(content: bytes, at: float) -> bytes:
    changed = bytearray(content)
    changed[int(at * len(content))] ^= 0xFF
    return bytes(changed)
