"""What functions of packages make of the rows: the types and values that columns are declared as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from fuxictr_stem.data.source.column_plan import DEFAULTS, PYTHON_TYPES
from fuxictr_stem.data.source.derived_columns import expression
from fuxictr_stem.data.source.parse_columns import finite
from fuxictr_stem.data.source.split_files import TYPES, Source
from fuxictr_stem.errors import DataError, refuse


def filled(col: Mapping[str, Any]) -> pl.Expr:
    """Return a column in its declared type, what is missing in it filled as FuxiCTR does.

    A sequence is the list of its tokens.
    """
    if col["type"] == "sequence":
        text = (
            expression(col)
            .cast(pl.String)
            .fill_null(pl.lit(col.get("fill_na", "")).cast(pl.String))
        )
        return text.str.split(col.get("splitter", "^"))
    fill = col.get("fill_na", DEFAULTS[PYTHON_TYPES[col["dtype"]]])
    return expression(col).cast(TYPES[col["dtype"]]).fill_null(fill)


def check_types(source: Source) -> None:
    """Refuse functions that make another type than their column's.

    Args:
        source: The files.

    Raises:
        DataError: All of them are named.
    """
    problems = []
    for col in source.plan.derived:
        about = f"column {col['name']!r}: preprocess {col['preprocess']}"
        try:
            made = source.frame("train").select(expression(col).alias("made"))
            have = made.collect_schema()["made"]
        except pl.exceptions.PolarsError as error:
            problems.append(f"{about} cannot be computed: {str(error).splitlines()[0]}")
            continue
        whole = have.is_integer() or have == pl.Boolean
        text = have == pl.String or isinstance(have, (pl.Categorical, pl.Enum))
        fits = {"str": text or whole, "int": whole, "float": have.is_numeric() or whole}
        if not fits[col["dtype"]]:
            problems.append(
                f"{about} makes {have}, but the column is declared {col['dtype']}. Cast it in the "
                f"function, or declare another dtype."
            )
    if problems:
        refuse(DataError, f"dataset {source.plan.dataset_id!r}", problems)


def check_values(source: Source, frames: Mapping[str, pl.LazyFrame]) -> None:
    """Refuse values that functions cannot compute, and numbers that are not finite.

    Args:
        source: The files.
        frames: Each split's columns as they are to be encoded.

    Raises:
        DataError: All of them are named.
    """
    problems = list(_value_problems(source, frames))
    if problems:
        refuse(DataError, f"dataset {source.plan.dataset_id!r}", problems)


def _value_problems(source: Source, frames: Mapping[str, pl.LazyFrame]) -> Iterator[str]:
    for col in source.plan.derived:
        about = f"column {col['name']!r}: preprocess {col['preprocess']}"
        wrong = ~finite(pl.col(col["name"])) if col["dtype"] == "float" else pl.lit(False)
        value = pl.col(col["name"])
        for split, frame in frames.items():
            try:
                # The count of nulls, all filled, has every value computed.
                counted = frame.select(value.null_count(), wrong=wrong.sum())
                count = counted.collect(engine="streaming")["wrong"].item()
            except pl.exceptions.PolarsError as error:
                yield f"{about} cannot be computed in {split}: {str(error).splitlines()[0]}"
                continue
            if count:
                yield f"{about} makes NaN or infinite numbers in {count:,} rows of {split}."
