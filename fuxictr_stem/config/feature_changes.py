"""What an experiment changes in its dataset's features: ``use_features`` and ``feature_specs``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fuxictr_stem.config.column_words import META
from fuxictr_stem.config.columns import Columns, misfit_problems
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_entries
from fuxictr_stem.config.schema import FEATURE_CHANGES, column_types
from fuxictr_stem.errors import Problem, suggest


def use_features_problems(names: Sequence[str] | None, cols: Columns) -> Iterator[Problem]:
    """Yield why ``use_features`` does not name active columns, each once, and not only meta columns."""
    if names is None:
        return
    key = "use_features"
    types = {col["name"]: col["type"] for col in cols if col["active"]}
    unknown = [name for name in names if name not in types]
    for name in unknown:
        yield Problem(key, f"{name!r} is not an active column.", suggest(name, types))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield Problem(key, f"names twice: {', '.join(twice)}.")
    if not unknown and all(types[name] == META for name in names):
        yield Problem(key, "must name a column that is not meta.")


def read_feature_specs(
    params: dict[str, Any], cols: Columns, place: str, problems: Problems
) -> None:
    """Check ``feature_specs`` against the columns; settle it into one dict per column, or None."""
    specs = params.get("feature_specs")
    if not specs:
        params["feature_specs"] = None
        return
    used = params.get("use_features")
    by_name = {c["name"]: c for c in cols if c["active"] and (not used or c["name"] in used)}
    params["feature_specs"] = []
    for at, change, _ in read_entries(FEATURE_CHANGES, specs, place, problems):
        name = change["name"]
        col = by_name.get(name)
        if col is None:
            problems.add(at, f"{name!r} is not a column in use.", suggest(name, by_name))
            continue
        problems.add_all(misfit_problems(change, col["type"], at))
        for key in ("pretrain_usage", "freeze_emb"):
            if (
                key in change
                and "pretrained_emb" not in col
                and col["type"] in column_types(FEATURE_CHANGES[key])
            ):
                problems.add(f"{at}.{key}", "is for a column with pretrained_emb.")
        params["feature_specs"].append(change)
