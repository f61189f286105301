"""What the columns of a file of logs hold."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import polars as pl

from fuxictr_stem.config.column_words import CATEGORICAL, NUMERIC, SEQUENCE
from fuxictr_stem.data.source.source_column import inner_type, is_text
from fuxictr_stem.errors import DataError, raise_all
from fuxictr_stem.frames.training_rows import one_row
from fuxictr_stem.runtime.text_table import amount
from fuxictr_stem.starter.read_logs import Logs

NULLS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", r"\N")
"""Fields of a CSV file that mean that a value is missing, where a column's other values are numbers."""

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_COMMA = r"^[+-]?[0-9]+([., ][0-9]{3})*,[0-9]+$"
_INFINITE = r"^(?i)[+-]?inf(inity)?$"
# The most digits of which every whole number is one of 64 bits.
_DIGITS = 18
_SPLITTER = "|"
# A column is a sequence if this share of its values has a splitter.
_SPLIT = 0.05
# Whole numbers that are amounts rather than names of things, by what their column is called.
_AMOUNT = re.compile(
    r"(^|_)(price|amount|total|sum|avg|mean|count|counts|cnt|num|age|score|ratio|rate|duration|length|"
    r"size|weight|height|width|days?|hours|minutes|seconds|secs?|ms|distance|rank|position|views|clicks|"
    r"likes|followers|budget|bid|cost|revenue|discount|stock)(_|$)",
    re.IGNORECASE,
)
# Of this many rows a column with a value of its own on each says nothing of tomorrow's.
_FEWEST_ROWS, _EACH_ROW = 100, 0.98
# With more rows, different values are counted with an error of some percent, in little memory.
_EXACT = 1_000_000


@dataclass(frozen=True)
class Findings:
    """What a look at the values of the columns says."""

    null_values: list[str]  # fields that mean a missing value
    # By column, what is more than its type says (as in `guess_columns`), and why.
    wishes: dict[str, tuple[Any, str]]
    left_out: dict[str, str]  # by column, why it is no feature
    regression: list[str]  # labels that hold other numbers than 0 and 1
    nested: dict[str, str]  # by label, another that is 1 wherever it is
    types: dict[str, pl.DataType]  # by column of a CSV file, the type that all its values have


def look_at(logs: Logs, features: Sequence[str], labels: Sequence[str]) -> Findings:
    """Look at the values of columns.

    Raises:
        DataError: A label is no number, or a column holds infinite ones.
    """
    schema = logs.frame.collect_schema()
    left_out = {name: _no_feature(name, schema[name]) for name in features}
    features = [name for name in features if not left_out[name]]
    figures = {name: _facts(name, schema[name], logs) for name in [*features, *labels]}
    numbers = {label: pl.col(label).cast(pl.Float64, strict=False) for label in labels}
    for label, number in numbers.items():
        figures[label]["ones"] = (number == 1).sum()
        figures[label]["others"] = (number.is_finite() & ~number.is_in([0.0, 1.0])).sum()
    for label, other in permutations(labels, 2):
        without = (numbers[label] == 1) & ~(numbers[other] == 1).fill_null(False)
        figures[label][f"without {other}"] = without.sum()
    expressions = [expression for facts in figures.values() for expression in facts.values()]
    named = [expression.alias(str(number)) for number, expression in enumerate(expressions)]
    row = iter(one_row(logs.frame, named))
    values = {name: {fact: next(row) for fact in facts} for name, facts in figures.items()}
    _check_values(values, schema, labels)
    markers = {
        marker for column in values.values() if _is_number(column) for marker in column["markers"]
    }
    wishes = {name: _wish(name, values[name], schema[name], markers) for name in features}
    regression = [label for label in labels if values[label]["others"]]
    left_out |= {name: _useless(values[name], wishes[name], logs.rows) for name in features}
    nested = {
        label: other
        for label, other in permutations(labels, 2)
        if not {label, other} & {*regression}
        and values[label][f"without {other}"] == 0 < values[label]["ones"] < values[other]["ones"]
    }
    return Findings(
        sorted(markers),
        {name: wish for name, wish in wishes.items() if wish is not None and not left_out[name]},
        {name: why for name, why in left_out.items() if why},
        regression,
        nested,
        {
            name: pl.Float64() if name in labels else _type(values[name])
            for name in values
            if is_text(schema[name])
        },
    )


def _no_feature(name: str, have: pl.DataType) -> str:
    """Return why a column of some type cannot be a feature as it is; "" if it may."""
    inner = inner_type(have)
    if not name.strip():
        return "it has no name, as pandas writes its index"
    if have == pl.Null:
        return "it has no value"
    if inner is not None:
        fits = is_text(inner) or inner.is_integer()
        return "" if fits else f"it holds lists of {inner}; vectors are of type embedding"
    if is_text(have) or have.is_numeric() or have == pl.Boolean:
        return ""
    return f"it holds {have}; turn it into a number or a text"


def _check_values(
    values: Mapping[str, Mapping[str, Any]], schema: pl.Schema, labels: Sequence[str]
) -> None:
    """Reject labels that are no numbers, and numbers that are infinite."""
    problems = []
    for name, column in values.items():
        have, infinite = schema[name], column.get("infinite", 0)
        commas = column.get("commas", 0)
        if commas and commas + column["numbers"] + column["marked"] == column["count"]:
            problems.append(
                f"column {name!r} has numbers with a comma, such as {column['odd']!r}. Write them with a "
                "decimal point, and with nothing between thousands."
            )
        elif name in labels and is_text(have) and column["odd"] is not None:
            problems.append(
                f"--labels {name}: must hold 0 and 1 (or yes and no, true and false), or numbers to "
                f"predict, and nothing where there is no label; found {column['odd']!r}. Convert it "
                f"first, such as by df[{name!r}] = (df[{name!r}] == {column['odd']!r}).astype(int)."
            )
        elif name in labels and not (is_text(have) or have.is_numeric() or have == pl.Boolean):
            problems.append(
                f"--labels {name}: holds {have}; a label is a number. Convert it first."
            )
        elif infinite and (have.is_float() or _is_number(column)):
            problems.append(
                f"column {name!r} is infinite in {amount(infinite, 'row')}. Leave a missing value "
                "empty, or give another number."
            )
    raise_all(DataError, "init", problems)


def _type(values: Mapping[str, Any]) -> pl.DataType:
    """Return the type of a text column's values; ids with leading zeros, or too long, are text."""
    if not _is_number(values) or values["zeros"] or (values["long"] and not values["fractions"]):
        return pl.String()
    return pl.Float64() if values["points"] else pl.Int64()


def _is_number(values: Mapping[str, Any]) -> bool:
    """Say whether a column of text holds numbers, but for marks of missing ones."""
    numbers = values.get("numbers", 0)
    return numbers > 0 and numbers + values["infinite"] == values["count"] - values["marked"]


def _useless(values: Mapping[str, Any], wish: tuple[Any, str] | None, rows: int) -> str:
    """Return why a column cannot help; "" if it may."""
    is_amount = wish is not None and wish[0] not in (None, CATEGORICAL)
    if values["distinct"] <= 1:
        return "it has one value only" if values["count"] else "it has no value"
    names_rows = rows >= _FEWEST_ROWS and values["distinct"] > _EACH_ROW * rows
    if names_rows and not is_amount and not values.get("fractions"):
        return "it has a different value in nearly every row, so it says nothing about new rows"
    return ""


def _wish(
    name: str, values: Mapping[str, Any], have: pl.DataType, markers: Collection[str]
) -> tuple[Any, str] | None:
    """Return what a column is and why, where that is more than its type says."""
    is_list = inner_type(have) is not None
    if is_list or values.get("splits", 0) > _SPLIT * values["count"]:
        splitter = {} if is_list else {"splitter": _SPLITTER}
        length = max(1, int(values["length"]))
        why = f"{'lists' if is_list else 'text with ' + _SPLITTER}; 95 % have {length} tokens or fewer"
        return {"type": SEQUENCE, **splitter, "max_len": length}, why
    number = have.is_numeric() or (is_text(have) and _is_number(values) and not values["zeros"])
    whole = number and not values.get("fractions")
    if whole and _AMOUNT.search(name):
        return NUMERIC, "whole numbers, an amount by its name"
    # pandas makes floats of whole numbers as soon as one is missing.
    if whole and (have.is_float() or values.get("points")):
        return CATEGORICAL, "whole numbers, written as floats"
    if not number and values.get("odd") is not None and values["numbers"]:
        return None, f"text: not all are numbers, such as {values['odd']!r}"
    if not number and {*values.get("markers", ())} & {*markers}:
        return None, "text, in which a field of null_values is missing, too"
    return None


def _facts(name: str, have: pl.DataType, logs: Logs) -> dict[str, pl.Expr]:
    """Return what is counted of a column."""
    column = pl.col(name)
    facts = {"count": column.count()}
    if (inner := inner_type(have)) is not None:
        length = column.cast(pl.List(inner)).list.len()
        return facts | {"distinct": pl.lit(2), "length": length.quantile(0.95)}
    if have.is_float():
        facts["infinite"] = column.is_infinite().sum()
        column = pl.when(column.is_finite()).then(column)
        facts["fractions"] = (column != column.round()).any()
    elif isinstance(have, pl.Decimal):
        facts["fractions"] = pl.lit(True)
    there = column.drop_nulls()
    facts["distinct"] = there.n_unique() if logs.rows <= _EXACT else there.approx_n_unique()
    if is_text(have):
        text = column.cast(pl.String)
        number, marker = text.str.contains(_NUMBER), text.is_in(NULLS)
        # A parquet file has nulls.
        marker &= pl.lit(logs.data_format == "csv")
        facts["numbers"] = number.sum()
        facts["marked"] = marker.sum()
        facts["markers"] = text.filter(marker).unique().implode()
        # 007 is another id than 7.
        facts["zeros"] = text.str.contains(r"^[+-]?0[0-9]").any()
        facts["points"] = (number & text.str.contains("[.eE]")).any()
        facts["fractions"] = (number & text.str.contains(r"\.\d*[1-9]|[eE]")).any()
        facts["long"] = (number & (text.str.len_chars() > _DIGITS)).any()
        infinite = text.str.contains(_INFINITE)
        facts["infinite"] = infinite.sum()
        facts["commas"] = text.str.contains(_COMMA).sum()
        facts["odd"] = text.filter(~number & ~marker & ~infinite).first()
        split = text.str.contains(_SPLITTER, literal=True)
        facts["splits"] = split.sum()
        facts["length"] = (text.str.count_matches(_SPLITTER, literal=True) + 1).quantile(0.95)
    return facts
