"""What an experiment changes in its dataset's features: ``use_features`` and ``feature_specs``."""

from __future__ import annotations

from typing import Any

from fuxictr_stem.config.checking import Problems, read_entries
from fuxictr_stem.config.columns import Columns, check_encoder
from fuxictr_stem.config.schema import FEATURE, SPEC
from fuxictr_stem.config.values import META
from fuxictr_stem.errors import suggest


def check_use_features(
    params: dict[str, Any], cols: Columns, place: str, problems: Problems
) -> None:
    """Check that ``use_features`` names active columns, each once, and not only meta columns.

    Args:
        params: The experiment's settings.
        cols: The dataset's columns.
        place: Where ``use_features`` stands.
        problems: Takes what is wrong.
    """
    names = params.get("use_features")
    if names is None:
        return
    types = {col["name"]: col["type"] for col in cols if col["active"]}
    unknown = [name for name in names if name not in types]
    for name in unknown:
        problems.add(place, f"{name!r} is not an active column.", suggest(name, types))
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        problems.add(place, f"names twice: {', '.join(twice)}.")
    if not unknown and all(types[name] == META for name in names):
        problems.add(place, "must name a column that is not meta.")


def read_feature_specs(
    params: dict[str, Any], cols: Columns, place: str, problems: Problems
) -> None:
    """Check ``feature_specs`` against the columns; settle it into one dict a column, or None.

    Args:
        params: The experiment's settings; completed.
        cols: The dataset's columns.
        place: Where ``feature_specs`` stands.
        problems: Takes what is wrong.
    """
    specs = params.get("feature_specs")
    if not specs:
        params["feature_specs"] = None
        return
    used = params.get("use_features")
    by_name = {c["name"]: c for c in cols if c["active"] and (not used or c["name"] in used)}
    settled = []
    for at, spec, _ in read_entries(SPEC, specs, place, problems):
        col = by_name.get(spec["name"])
        if col is None:
            problems.add(
                at, f"{spec['name']!r} is not a column in use.", suggest(spec["name"], by_name)
            )
            continue
        check_encoder(col["type"], spec.get("feature_encoder"), at, problems)
        for key in spec:
            types = FEATURE[key].types
            if types and col["type"] not in types:
                wanted = " and ".join(types)
                problems.add(f"{at}.{key}", f"is for {wanted} columns, not {col['type']}.")
            elif key in ("pretrain_usage", "freeze_emb") and "pretrained_emb" not in col:
                problems.add(f"{at}.{key}", "is for a column with pretrained_emb.")
        settled.append(spec)
    params["feature_specs"] = settled
