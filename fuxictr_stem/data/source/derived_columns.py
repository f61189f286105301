"""Columns that a function of an installed package makes: ``preprocess: name`` or ``name(text)``.

A function takes text, by default the column's own name, and returns a polars expression of the
dataset's columns, as the methods of FuxiCTR's ``FeatureProcessor`` do. Only installed entry points are
called, never what a config itself holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from fuxictr_stem import registry
from fuxictr_stem.config.column_words import copied_column, function_call
from fuxictr_stem.data.source.readings import finite
from fuxictr_stem.data.source.source_column import SPLITTER, TYPES, is_text
from fuxictr_stem.errors import ConfigError, first_line

Config = Mapping[str, Any]
"""A column's entry in the config."""


def expression(col: Config) -> pl.Expr:
    """Return what makes a column.

    Raises:
        ConfigError: The function raises, or returns something else.
    """
    name, text = function_call(col["preprocess"], col["name"]) or ("", "")
    about = f"column {col['name']!r}: the preprocess function {name}({text!r})"
    try:
        made = registry.get_preprocess(name).function(text)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{about} of an installed package raised {error!r}.") from error
    if not isinstance(made, pl.Expr):
        raise ConfigError(f"{about} must return a polars expression, returned {made!r:.80}.")
    return made


def identities(columns: Iterable[Config]) -> dict[str, str]:
    """Return the identity of each preprocess function that columns call, by its name."""
    calls = (function_call(col.get("preprocess"), col["name"]) for col in columns)
    return {call[0]: registry.get_preprocess(call[0]).identity for call in calls if call}


def columns_read(col: Config, declared: Mapping[str, Config]) -> list[str]:
    """Return the columns that a column is made of, by its entry and the dataset's features and labels.

    Raises:
        ConfigError: One of them is none of the files, or a label.
    """
    labels = [other for other in declared.values() if "type" not in other]
    answers = {copied_column(label.get("preprocess"), label["name"]) for label in labels}
    names = list(dict.fromkeys(expression(col).meta.root_names()))
    for name in names:
        about = f"column {col['name']!r}: preprocess {col['preprocess']} reads {name!r}"
        source = declared.get(name)
        if source is None:
            raise ConfigError(
                f"{about}, which is not in feature_cols. Declare it there, with active: False if nothing "
                f"else uses it."
            )
        if "type" not in source or name in answers:
            raise ConfigError(f"{about}, which is a label: the model would see the answer.")
        if name != col["name"] and source.get("preprocess"):
            raise ConfigError(
                f"{about}, which is {source['preprocess']}. Read a column of the files."
            )
    return names


def typed(col: Config) -> pl.Expr:
    """Return a column in its declared type; a sequence is the list of its tokens."""
    if col["type"] == "sequence":
        return expression(col).cast(pl.String).str.split(col.get("splitter", SPLITTER))
    return expression(col).cast(TYPES[col["dtype"]])


def type_problems(derived: Iterable[Config], train: pl.LazyFrame) -> Iterator[str]:
    """Yield the functions that cannot be applied to train's columns, or make another type than declared."""
    for col in derived:
        about = f"column {col['name']!r}: preprocess {col['preprocess']}"
        try:
            have = train.select(made=expression(col)).collect_schema()["made"]
        except pl.exceptions.PolarsError as error:
            yield f"{about} cannot be computed: {first_line(error)}"
            continue
        whole = have.is_integer() or have == pl.Boolean
        fits = {"str": is_text(have) or whole, "int": whole, "float": have.is_numeric() or whole}
        if not fits[col["dtype"]]:
            yield (
                f"{about} makes {have}, but the column is declared {col['dtype']}. Cast it in the "
                f"function, or declare another dtype."
            )


def value_problems(derived: Iterable[Config], splits: Mapping[str, pl.LazyFrame]) -> Iterator[str]:
    """Yield the functions that cannot compute a value of a split, or make numbers that are not finite."""
    for col in derived:
        about = f"column {col['name']!r}: preprocess {col['preprocess']}"
        value = pl.col(col["name"])
        bad = ~finite(value) if col["dtype"] == "float" else pl.lit(False)
        for split, frame in splits.items():
            try:
                # The count of nulls, all filled, has every value computed.
                counted = frame.select(value.null_count(), bad=bad.sum())
                count = counted.collect(engine="streaming")["bad"].item()
            except pl.exceptions.PolarsError as error:
                yield f"{about} cannot be computed in {split}: {first_line(error)}"
                continue
            if count:
                yield f"{about} makes NaN or infinite numbers in {count:,} rows of {split}."
