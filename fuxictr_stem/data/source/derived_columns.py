"""Columns that a function of an installed package makes: ``preprocess: name`` or ``name(text)``.

A function takes text, by default the column's own name, and returns a polars expression of the
dataset's columns, as the methods of FuxiCTR's ``FeatureProcessor`` do. Only installed entry points are
called, never what a config itself holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from fuxictr_stem import registry
from fuxictr_stem.config.values import copied_column, function_call
from fuxictr_stem.errors import ConfigError


def expression(col: Mapping[str, Any]) -> pl.Expr:
    """Return what makes a column.

    Args:
        col: Its dict in the config.

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


def columns_read(col: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the columns that a column is made of.

    Args:
        col: Its dict in the config.
        declared: The dataset's features and labels by name.

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
