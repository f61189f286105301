"""What the columns of a dataset must be to each other: names, copies, shared tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fuxictr_stem.config.column_words import (
    CATEGORICAL,
    META,
    SEQUENCE,
    combined_labels,
    copied_column,
    function_call,
)
from fuxictr_stem.config.reading import Entry
from fuxictr_stem.errors import Problem, suggest

_ANSWER = "the model would see the answer."
_REMOVE = "Remove the feature, or the label."


def name_problems(features: Sequence[Entry], labels: Sequence[Entry]) -> Iterator[Problem]:
    """Yield columns that appear twice, or are feature and label at once."""
    for key, entries in (("feature_cols", features), ("label_col", labels)):
        places: dict[str, str] = {}
        for place, col, _ in entries:
            name = col["name"]
            if name in places:
                text = f"{name!r} is in {key} already, at {places[name]}."
                yield Problem(place, text, "Keep one of them.")
            places[name] = place
    label_names = {entry.values["name"] for entry in labels}
    for place, col, _ in features:
        if col["name"] in label_names and col.get("active"):
            yield Problem(place, f"{col['name']!r} is a label, too: {_ANSWER}", _REMOVE)


def copy_problems(features: Sequence[Entry], labels: Sequence[Entry]) -> Iterator[Problem]:
    """Yield copies of nothing, in circles, and inputs that hold what a label holds."""
    by_name = {entry.values["name"]: entry.values for entry in (*features, *labels)}
    for place, col, _ in (*features, *labels):
        chain = _copies(col["name"], by_name)
        if chain[-1] in chain[:-1]:
            yield Problem(f"{place}.preprocess", f"copies in a circle: {' <- '.join(chain)}.")
        # A longer chain is the fault of the copy before, which is reported there.
        elif len(chain) == 2:
            yield from _source_problems(col, chain[1], by_name, f"{place}.preprocess")
    answers = {_copies(e.values["name"], by_name)[-1]: e.values["name"] for e in labels}
    for place, col, _ in features:
        chain = _copies(col["name"], by_name)
        label = answers.get(chain[-1])
        if label not in (None, col["name"]) and col["active"] and col["type"] != META:
            text = f"{' <- '.join(chain)} holds the same as the label {label!r}: {_ANSWER}"
            yield Problem(place, text, _REMOVE)


def _source_problems(
    col: Mapping[str, Any], source: str, by_name: Mapping[str, Mapping[str, Any]], at: str
) -> Iterator[Problem]:
    """Yield why a column cannot be copied by another one."""
    if source not in by_name:
        near = suggest(source, by_name) or "Declare it; active: False if nothing else uses it."
        text = f"copies {source!r}, which is not a column of feature_cols or label_col."
        yield Problem(at, text, near)
        return
    made = by_name[source].get("preprocess")
    text = f"copies {source!r}, which no file holds: it is {made}."
    if "type" in by_name[source]:
        if function_call(made, source):
            yield Problem(
                at, text, "Write the same preprocess here, or copy a column of the files."
            )
    # An input that copies such a label is rejected as one that holds the answer.
    elif combined_labels(made) and col.get("type", META) == META:
        yield Problem(at, text, "Copy a column of the files.")


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


def sharing_problems(features: Sequence[Entry]) -> Iterator[Problem]:
    """Yield shared tables that FuxiCTR would not share, or not as meant.

    It merges vocabularies in the order of the config and keeps one size per table: a chain, or ids of
    another dtype, would leave ids beyond the table, or tokens that never meet.
    """
    owners: dict[str, Mapping[str, Any]] = {}
    for place, col, _ in features:
        if not col["active"] or col["type"] not in (CATEGORICAL, SEQUENCE):
            continue
        shared, at = col.get("share_embedding"), f"{place}.share_embedding"
        owner = owners.get(shared) if shared is not None else None
        if owner is not None and owner.get("share_embedding") is not None:
            hint = f"Name {owner['share_embedding']!r}."
            yield Problem(at, f"names {shared!r}, which shares a table itself.", hint)
        elif owner is not None:
            yield from _pair_problems(col, owner, place)
        elif shared is not None:
            text = f"must name an active categorical or sequence column before this one, found {shared!r}."
            yield Problem(at, text, suggest(shared, owners))
        owners[col["name"]] = col


def _pair_problems(
    col: Mapping[str, Any], owner: Mapping[str, Any], place: str
) -> Iterator[Problem]:
    about = f"{col['name']!r} shares the table of {owner['name']!r}"
    tokens = ["str" if c["type"] == SEQUENCE else c["dtype"] for c in (col, owner)]
    if tokens[0] != tokens[1]:
        yield Problem(
            f"{place}.dtype",
            f"{about}, but their ids are {tokens[0]} and {tokens[1]} (a sequence's are str) and "
            f"would never meet.",
            "Declare both str.",
        )
    if col.get("pretrained_emb"):
        yield Problem(f"{place}.pretrained_emb", f"{about}.", f"Give it to {owner['name']!r}.")
    widths = [c.get("embedding_dim") for c in (col, owner)]
    if None not in widths and widths[0] != widths[1]:
        yield Problem(f"{place}.embedding_dim", f"{about}, but their widths are {widths}.")
