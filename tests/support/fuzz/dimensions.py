"""What may be odd about an input: values, text of csv files, types of parquet files."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tests.support.fuzz.readings import SPLITS, Draft, Raw, dimension

# Fields as programs write them that do not double a quote, and some that should trip a reader.
QUOTED = {
    "doubled": ['"5"" pad"', '"say ""x"""', '""""', '"a"",""b"'],
    "not doubled": ['"5" pad"', '"a "b" c"', '"x"y'],
    "with a backslash": ['"5\\" pad"', '"7\\" tv"', '"a\\\\"', '"\\"', '"5\\", pad"'],
    "bare": ['5" pad', 'a"b"', 'x""y', 'b"'],
    "with a separator": ['"a,b"', '"a;b"', '"a\tb|c"', '","'],
    "with a line end": ['"two\nlines"', '"a\r\nb"', '"a\n\nb"', '"\n"', '"a\n1,2,3"'],
    "open": ['"abc', '"', '"a""'],
    "beside blanks": [' "u1"', '"u1" ', ' "a,b"'],
    "around usual text": ['"u1"', '"u2"', '"pad"'],
    "empty": ['""', "", '" "'],
    "single": ["it's", "'u1'", "'a,b'", "''"],
}


def _some(draft: Draft, least: int = 1) -> list[dict[str, Any]]:
    """Return some rows of one or all splits, mostly few."""
    rng = draft.rng
    rows = draft.rows(*rng.choice([SPLITS, ("train",), ("train",), ("valid",), ("test",)]))
    return rng.sample(rows, min(len(rows), max(least, rng.choice([1, 1, 2, 3, len(rows)]))))


@dimension("csv", weight=5)
def quotes(draft: Draft) -> str:
    """Quotes in the fields of a column, used or not, perhaps with the options for them."""
    rng = draft.rng
    style = rng.choice(list(QUOTED))
    name = rng.choice(["title", "title", "user", "tags"])
    for row in _some(draft, least=rng.choice([1, 2])):
        row[name] = Raw(rng.choice(QUOTED[style]))
    told = f"{style} in {name}"
    if rng.random() < 0.4:
        options: dict[str, Any] = rng.choice(
            [{"csv_quote": None}, {"csv_quote": "'"}, {"csv_escape": "\\"}, {"csv_escape": "\\"}]
        )
        draft.dataset |= options
        told += f", {options}"
    return told


@dimension("csv")
def quoted_numbers(draft: Draft) -> str:
    """Numbers and labels within quotes."""
    name = draft.rng.choice([*draft.names("numeric", dtype=None), "item", "click"])
    for row in _some(draft):
        row[name] = Raw(f'"{row[name]}"')
    return name


@dimension("csv")
def quoted_header(draft: Draft) -> str:
    """A header with quotes around names, or a name that holds one."""
    old, new = draft.rng.choice(
        [("user", '"user"'), ("title", '"ti,tle"'), ("title", '"ti""tle"'), ("title", '"ti\ntle"')]
    )

    def change(split: str, part: int, text: str) -> str:
        header, end, rest = text.partition(draft.ends)
        return header.replace(old, new, 1) + end + rest

    draft.lines.append(change)
    return new


@dimension("csv", weight=2)
def blank_lines(draft: Draft) -> str:
    """Lines without a field at the start, in the middle or at the end."""
    rng = draft.rng
    split, where = rng.choice(SPLITS), rng.choice(["start", "middle", "middle", "end", "many"])
    blank = rng.choice(["", "", "", " ", "  ", "\t"]) + draft.ends

    def change(here: str, part: int, text: str) -> str:
        lines = text.splitlines(keepends=True)
        if here != split:
            return text
        if where == "start":
            return blank + text
        if where == "end":
            return text + blank * rng.choice([1, 2])
        at = rng.randrange(1, len(lines))
        if where == "middle":
            return "".join([*lines[:at], blank, *lines[at:]])
        return blank.join([*lines, ""])

    draft.lines.append(change)
    return f"{blank!r} at {where} of {split}"


@dimension("csv")
def blanks_around_numbers(draft: Draft) -> str:
    """Blanks before or behind a number or label."""
    rng = draft.rng
    name = rng.choice(
        [*draft.names("numeric", "meta", dtype="int"), "item", "price", "click", "buy"]
    )
    around = rng.choice(["{} ", " {}", " {} ", "{}\t", "  {}", "{}\u00a0"])
    for row in _some(draft):
        row[name] = Raw(around.format("" if row[name] is None else row[name]))
    return f"{around!r} of {name}"


@dimension("csv")
def numbers_written_differently(draft: Draft) -> str:
    """Numbers as other programs write them, and what is none."""
    rng = draft.rng
    name = rng.choice(["item", "item", "price", "click", "buy", *draft.names("numeric", "meta")])
    value = rng.choice(
        [
            "+7",
            "007",
            "7.0",
            "1e3",
            "1E+2",
            ".5",
            "5.",
            "-0",
            "-0.0",
            "nan",
            "NaN",
            "inf",
            "0x1F",
            "1_0",
        ]
        + [
            "1,5",
            "true",
            "abc",
            "1e400",
            "1e39",
            "1e-400",
            "9223372036854775807",
            "9223372036854775808",
        ]
        + ["9007199254740993", "٣", "−1", "1 0", "NULL", "None", "--1", "1d", "1f", "infinity"]
    )
    for row in _some(draft):
        row[name] = value
    return f"{value} in {name}"


@dimension()
def many_rows(draft: Draft) -> str:
    """A split of thousands of rows, which readers take in several blocks."""
    rng = draft.rng
    split, times = rng.choice(SPLITS), rng.choice([100, 1000])
    draft.parts[split][0] = [dict(row) for row in draft.parts[split][0] * times]
    return f"{times} times as many in {split}"


@dimension()
def missing_values(draft: Draft) -> str:
    """Cells without a value."""
    rng = draft.rng
    row = draft.parts["train"][0][0]
    name = rng.choice([name for name in row if name not in ("title", "click")])
    for chosen in _some(draft):
        chosen[name] = None
    return name


@dimension()
def fill_values(draft: Draft) -> str:
    """Missing values whose fill value is a real one, or not."""
    rng = draft.rng
    ids = [*draft.names("categorical"), *draft.names("meta"), *draft.names("numeric")]
    name = rng.choice(ids)
    col = draft.feature(name)
    real = {"str": "u1", "int": 0, "float": 0.0}[col["dtype"]]
    fills: list[Any] = {"str": ["", "u1", "none", 0], "int": [0, -1, 1], "float": [0, -1.0, 0.5]}[
        col["dtype"]
    ]
    fill = rng.choice([None, *fills])
    if fill is not None:
        col["fill_na"] = fill
    for row in rng.sample(draft.rows("train"), 3):
        row[name] = None
    if rng.random() < 0.7:
        rows = [row for row in draft.rows() if row[name] is not None]
        for row in rng.sample(rows, min(3, len(rows))):
            row[name] = rng.choice([real, real, real if fill in (None, "none", "") else fill])
    return f"{fill!r} of {name}"


@dimension()
def reserved_tokens(draft: Draft) -> str:
    """FuxiCTR's own two tokens as data."""
    rng = draft.rng
    name = rng.choice(["user", "tags", *draft.names("meta", "sequence", dtype="str")])
    token = rng.choice(["__PAD__", "__OOV__"])
    for row in _some(draft):
        row[name] = token
    return f"{token} in {name}"


@dimension()
def unknown_ids(draft: Draft) -> str:
    """Values of valid or test that train writes in another way."""
    rng = draft.rng
    split = rng.choice(["valid", "test"])
    name = rng.choice(["user", "item", *draft.names("categorical")])
    share = rng.choice([1.0, 1.0, 0.5])
    for row in draft.rows(split):
        if rng.random() < share and isinstance(row[name], (str, int, float)):
            dtype = draft.feature(name)["dtype"]
            text = dtype == "str" or isinstance(row[name], str)
            row[name] = f"{row[name]}.0" if text else 1000 + row[name]
    return f"{name} in {split}"


@dimension()
def large_numbers(draft: Draft) -> str:
    """Numbers that float32 cannot tell apart."""
    rng = draft.rng
    name = rng.choice(draft.names("numeric"))
    step = rng.choice([1, 1, 100_000])
    for i, row in enumerate(draft.rows()):
        row[name] = 1_700_000_000 + step * i
    return f"{name} by {step}"


@dimension("csv")
def rows_of_another_length(draft: Draft) -> str:
    """A row with a field too many or too few, or a line end that only some readers take for one."""
    rng = draft.rng
    split = rng.choice(SPLITS)
    how = rng.choice(["more", "fewer", "CR", "CR in the middle", "FF", "LS", "separators only"])

    def change(here: str, part: int, text: str) -> str:
        if here != split or part:
            return text
        lines = text.splitlines(keepends=True)
        at = rng.randrange(1, len(lines))
        line = lines[at].rstrip("\r\n")
        cells = line.split(draft.sep)
        lines[at] = {
            "more": line + draft.sep + "1",
            "fewer": draft.sep.join(cells[:-1]),
            "CR": line + "\r",
            "CR in the middle": line.replace("u", "u\r", 1),
            "FF": line.replace("u", "u\x0c", 1),
            "LS": line.replace("u", "u\u2028", 1),
            "separators only": draft.sep * (len(cells) - 1),
        }[how] + draft.ends
        return "".join(lines)

    draft.lines.append(change)
    return f"{how} in {split}"


@dimension("csv")
def encodings(draft: Draft) -> str:
    """A mark of byte order, no last line end, other line ends, bytes that are not UTF-8."""
    rng = draft.rng
    how = rng.choice(["BOM", "no last line end", "two line ends", "latin-1", "utf-16", "sep=,"])
    split = rng.choice(SPLITS)

    def change(files: dict[str, bytes]) -> None:
        name = next(name for name in files if name.startswith(split))
        if name.endswith(".gz"):
            return
        content = files[name]
        files[name] = {
            "BOM": b"\xef\xbb\xbf" + content,
            "no last line end": content.rstrip(b"\r\n"),
            "two line ends": content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n", 3),
            "latin-1": content.replace(b"u1", b"\xfc1", 1) + b"",
            "utf-16": content.decode().encode("utf-16"),
            "sep=,": f"sep={draft.sep}\n".encode() + content,
        }[how]

    draft.moves.append(change)
    return f"{how} in {split}"


@dimension()
def other_columns(draft: Draft) -> str:
    """Files whose columns stand in another order, are more, or fewer."""
    rng = draft.rng
    split = rng.choice(SPLITS)
    how = rng.choice(["order", "order", "more", "unnamed", "fewer"])
    rows = rng.choice(draft.parts[split])
    name = rng.choice(list(rows[0]))
    for row in rows:
        items = list(row.items())
        row.clear()
        if how == "unnamed":
            row[""] = 1
        row.update(reversed(items) if how == "order" else items)
        if how == "more":
            row["more"] = "x"
        elif how == "fewer":
            del row[name]
    return f"{how} in {split}"


@dimension("csv")
def null_values(draft: Draft) -> str:
    """Words that stand for a missing value, with the option that says so or without."""
    rng = draft.rng
    word = rng.choice(["NULL", "NA", "\\N", "-"])
    name = rng.choice([*draft.names("numeric", "categorical", "sequence"), "buy"])
    for row in _some(draft):
        row[name] = word
    if rng.random() < 0.7:
        draft.dataset["null_values"] = rng.choice([[word], [word, "none"]])
    return f"{word} in {name}"


@dimension()
def label_values(draft: Draft) -> str:
    """Labels that are missing, of other numbers, or marked as missing."""
    rng = draft.rng
    label = draft.feature("buy")
    for key in ("missing", "fill_na"):
        label.pop(key, None)
    label |= rng.choice(
        [{}, {"missing": -1}, {"missing": math.nan}, {"fill_na": 0}, {"dtype": "int"}]
    )
    value = rng.choice([None, -1, 2, 0.5, 0.1, 16777217])
    for row in _some(draft):
        row["buy"] = value
    if draft.format == "parquet":
        for row in draft.rows():
            if isinstance(row["buy"], int):
                row["buy"] = float(row["buy"])
    return f"{value}, {label}"


# By name: the type, and a value of it for each number.
_TYPES: dict[str, tuple[pa.DataType, Any]] = {
    "Int32": (pa.int32(), int),
    "Int64": (pa.int64(), int),
    "UInt8": (pa.uint8(), lambda n: n % 100),
    "Float64": (pa.float64(), float),
    "Float32": (pa.float32(), float),
    "Float64 with halves": (pa.float64(), lambda n: n + 0.5),
    "text": (pa.string(), str),
    "large text": (pa.large_string(), str),
    "text of floats": (pa.string(), lambda n: str(float(n))),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), str),
    "Date": (pa.date32(), lambda n: date(2024, 1, 1) + timedelta(n % 100)),
    "Datetime us": (pa.timestamp("us"), lambda n: datetime(2024, 1, 1) + timedelta(n % 100)),
    "Datetime ns": (pa.timestamp("ns"), lambda n: datetime(2024, 1, 1) + timedelta(n % 100)),
    "Datetime ms": (pa.timestamp("ms"), lambda n: datetime(2024, 1, 1) + timedelta(n % 100)),
    "Datetime s": (pa.timestamp("s"), lambda n: datetime(2024, 1, 1, n % 24) + timedelta(n % 100)),
    "bool": (pa.bool_(), lambda n: bool(n % 2)),
    "Decimal": (pa.decimal128(12, 2), lambda n: Decimal(n)),
    "Decimal 1": (pa.decimal128(12, 1), lambda n: Decimal(n)),
    "null": (pa.null(), lambda n: None),
}


def _whole(value: Any) -> int:
    """Return a whole number in place of a value, the same for the same."""
    if isinstance(value, (int, float, Decimal)):
        return int(value * 2) if isinstance(value, float) else int(value)
    return int("".join(filter(str.isdecimal, str(value))) or 0)


def _retype(draft: Draft, name: str, type_: str, split: str, part: int) -> None:
    arrow, made = _TYPES[type_]
    draft.types[split, part, name] = arrow
    for row in draft.parts[split][part]:
        if row.get(name) is not None:
            row[name] = made(_whole(row[name]))


@dimension("parquet", weight=4)
def types_that_differ(draft: Draft) -> str:
    """A column whose type is another one in some files: of another split, or of the same."""
    rng = draft.rng
    row = draft.parts["train"][0][0]
    name = rng.choice([n for n in row if n not in ("title", "tags", "friends")])
    usual, other = rng.choice(
        [("Int64", "Int32"), ("Int64", "Float64"), ("Int64", "text"), ("text", "dictionary")]
        + [("Datetime us", "Datetime ns"), ("Date", "Datetime us"), ("Datetime s", "Datetime ms")]
        + [
            ("Float64", "Float32"),
            ("Decimal", "Float64"),
            ("Decimal", "Decimal 1"),
            ("bool", "Int64"),
        ]
        + [tuple(rng.sample(list(_TYPES), 2))]
    )
    files = [(s, i) for s in SPLITS for i in range(len(draft.parts[s]))]
    split = rng.choice([*SPLITS, None])
    others = [f for f in files if f[0] == split] if split else [rng.choice(files)]
    for file in files:
        _retype(draft, name, other if file in others else usual, *file)
    where = split or "{}/part-{}".format(*others[0])
    return f"{name} {usual}, in {where} {other}"


@dimension("parquet", weight=2)
def shared_columns_that_differ(draft: Draft) -> str:
    """Columns that share a table, of different types, gaps in one of them."""
    rng = draft.rng
    owner, guest = rng.choice([("user", "inviter"), ("item", "seen"), ("user", "friends")])
    features = draft.dataset["feature_cols"]
    if guest not in draft.parts["train"][0][0]:
        features.append(
            {"name": guest, "dtype": "str" if owner == "user" else "int", "type": "categorical"}
        )
        features[-1]["share_embedding"] = owner
        for row in draft.rows():
            row[guest] = row[owner]
    elif guest == "friends":
        draft.feature(guest)["max_len"] = 2
    usual, other = rng.choice(
        [("Int64", "Float64"), ("Int64", "text"), ("Int64", "Int32"), ("Int64", "Decimal")]
        + [("text", "text of floats"), ("Datetime us", "Date"), ("Int64", "bool")]
    )
    for split in SPLITS:
        for part in range(len(draft.parts[split])):
            _retype(draft, owner, usual, split, part)
            _retype(draft, guest, other, split, part)
    for row in _some(draft):
        row[guest] = None
    return f"{owner} {usual}, {guest} {other}"


@dimension("parquet", weight=2)
def lists(draft: Draft) -> str:
    """Sequences as lists: elements that are null, empty, or hold the splitter."""
    rng = draft.rng
    name = rng.choice(draft.names("sequence"))
    splitter = draft.feature(name)["splitter"]
    arrow = rng.choice([pa.list_(pa.string()), pa.large_list(pa.string())])
    what = rng.choice(
        ["null", "null", "splitter", "empty", "empty list", "null list", "plain", "ints"]
    )
    odd: dict[str, Any] = {"null": None, "splitter": f"a{splitter}b", "empty": ""}
    for row in draft.rows():
        row[name] = str(row[name] or "").split(splitter)
    if what == "ints":
        arrow = pa.list_(pa.int64())
        for row in draft.rows():
            row[name] = (
                [rng.choice([1, 2, None]) for _ in row[name]] if rng.random() < 0.5 else [1, 2]
            )
    for split in SPLITS:
        for part in range(len(draft.parts[split])):
            draft.types[split, part, name] = arrow
    for row in _some(draft):
        if what in odd:
            row[name] = [*row[name], odd[what]]
            rng.shuffle(row[name])
        elif what.endswith("list"):
            row[name] = [] if what == "empty list" else None
    return f"{what} in {name}"


@dimension("parquet")
def odd_types(draft: Draft) -> str:
    """A column of one type everywhere that is not the declared one."""
    rng = draft.rng
    row = draft.parts["train"][0][0]
    name = rng.choice([n for n in row if n not in ("title", "tags", "friends")])
    type_ = rng.choice(list(_TYPES))
    for split in SPLITS:
        for part in range(len(draft.parts[split])):
            _retype(draft, name, type_, split, part)
    return f"{name} {type_}"
