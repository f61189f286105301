"""What the columns of a dataset must be to each other: names, copies, shared tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr_stem.config.checking import Entry, Problems
from fuxictr_stem.config.values import (
    CATEGORICAL,
    META,
    SEQUENCE,
    combined_labels,
    copied_column,
    function_call,
)
from fuxictr_stem.errors import suggest


def check_names(features: Sequence[Entry], labels: Sequence[Entry], problems: Problems) -> None:
    """Note columns that stand twice, or are feature and label at once."""
    for what, placed in (("feature_cols", features), ("label_col", labels)):
        seen: dict[str, str] = {}
        for place, col, _ in placed:
            if col["name"] in seen:
                problems.add(
                    place,
                    f"{col['name']!r} stands in {what} already, at {seen[col['name']]}.",
                    "Keep one of them.",
                )
            seen[col["name"]] = place
    label_names = {col["name"] for _, col, _ in labels}
    for place, col, _ in features:
        if col["name"] in label_names and col.get("active"):
            problems.add(
                place,
                f"{col['name']!r} is a label, too: the model would see the answer.",
                "Remove the feature, or the label.",
            )


def check_copies(features: Sequence[Entry], labels: Sequence[Entry], problems: Problems) -> None:
    """Note copies of nothing, in circles, and inputs that hold what a label holds."""
    by_name = {col["name"]: col for _, col, _ in (*features, *labels)}
    for place, col, _ in (*features, *labels):
        chain = _copies(col["name"], by_name)
        at = f"{place}.preprocess"
        if chain[-1] in chain[:-1]:
            problems.add(at, f"copies in a circle: {' <- '.join(chain)}.")
        # A longer chain is the fault of the copy before, which is reported there.
        elif chain[-1] not in by_name and len(chain) == 2:
            problems.add(
                at,
                f"copies {chain[1]!r}, which is not a column of feature_cols or label_col.",
                suggest(chain[1], by_name) or "Declare it; active: False if nothing else uses it.",
            )
        elif len(chain) == 2 and "type" in by_name[chain[1]] and _is_made(by_name[chain[1]]):
            source = by_name[chain[1]]["preprocess"]
            problems.add(
                at,
                f"copies {chain[1]!r}, which no file holds: it is {source}.",
                "Write the same preprocess here, or copy a column of the files.",
            )
        # An input that copies such a label is refused below: the model would see the answer.
        elif len(chain) == 2 and col.get("type", META) == META:
            source = by_name[chain[1]].get("preprocess")
            if combined_labels(source):
                problems.add(
                    at,
                    f"copies {chain[1]!r}, which no file holds: it is {source}.",
                    "Copy a column of the files.",
                )
    answers = {_copies(col["name"], by_name)[-1]: col["name"] for _, col, _ in labels}
    for place, col, _ in features:
        chain = _copies(col["name"], by_name)
        label = answers.get(chain[-1])
        if label not in (None, col["name"]) and col["active"] and col["type"] != META:
            problems.add(
                place,
                f"{' <- '.join(chain)} holds the same as the label {label!r}: the model would see "
                f"the answer.",
                "Remove the feature, or the label.",
            )


def _is_made(col: Mapping[str, Any]) -> bool:
    return function_call(col.get("preprocess"), col["name"]) is not None


def _copies(name: str, by_name: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a column, what it copies, what that copies, and so on, to the end or a repetition."""
    chain = [name]
    while chain[-1] not in chain[:-1]:
        last = chain[-1]
        source = copied_column(by_name.get(last, {}).get("preprocess"), last)
        if source in (None, last):
            break
        chain.append(str(source))
    return chain


def check_sharing(placed: Sequence[Entry], problems: Problems) -> None:
    """Note shared tables that FuxiCTR would not share, or not as meant.

    It merges vocabularies in the order of the config and keeps one size a table: a chain, or ids of
    another dtype, would leave ids beyond the table, or tokens that never meet.
    """
    owners: dict[str, Mapping[str, Any]] = {}
    for place, col, _ in placed:
        if not col["active"] or col["type"] not in (CATEGORICAL, SEQUENCE):
            continue
        shared, at = col.get("share_embedding"), f"{place}.share_embedding"
        if shared is not None:
            owner = owners.get(shared)
            if owner is None:
                problems.add(
                    at,
                    f"must name an active categorical or sequence column before this one, found "
                    f"{shared!r}.",
                    suggest(shared, owners),
                )
            elif owner.get("share_embedding") is not None:
                problems.add(
                    at,
                    f"names {shared!r}, which shares a table itself.",
                    f"Name {owner['share_embedding']!r}.",
                )
            else:
                _check_pair(col, owner, place, problems)
        owners[col["name"]] = col


def _check_pair(
    col: Mapping[str, Any], owner: Mapping[str, Any], place: str, problems: Problems
) -> None:
    about = f"{col['name']!r} shares the table of {owner['name']!r}"
    tokens = ["str" if c["type"] == SEQUENCE else c["dtype"] for c in (col, owner)]
    if tokens[0] != tokens[1]:
        problems.add(
            f"{place}.dtype",
            f"{about}, but their ids are {tokens[0]} and {tokens[1]} (a sequence's are str) and "
            f"would never meet.",
            "Declare both str.",
        )
    if col.get("pretrained_emb"):
        problems.add(f"{place}.pretrained_emb", f"{about}.", f"Give it to {owner['name']!r}.")
    dims = [c.get("embedding_dim") for c in (col, owner)]
    if None not in dims and dims[0] != dims[1]:
        problems.add(f"{place}.embedding_dim", f"{about}, but their widths are {dims}.")
