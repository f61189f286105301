"""Rules between the columns of a dataset: names, copies, shared tables, nested labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fuxictr_stem.config import column_words as words
from fuxictr_stem.config.reading import Column
from fuxictr_stem.errors import Problem, suggest
from fuxictr_stem.models.nested_labels import ancestors

_ANSWER = "the model would see the answer."
_REMOVE = "Remove the feature, or the label."

Columns = Mapping[str, Mapping[str, Any]]  # by name


def name_problems(features: Sequence[Column], labels: Sequence[Column]) -> Iterator[Problem]:
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


def copy_problems(features: Sequence[Column], labels: Sequence[Column]) -> Iterator[Problem]:
    """Yield copies of nothing, in circles, and inputs that hold what a label holds."""
    by_name = {entry.values["name"]: entry.values for entry in (*features, *labels)}
    for entry in (*features, *labels):
        chain = words.copy_chain(entry.values["name"], by_name)
        if chain[-1] in chain[:-1]:
            yield entry.problem("preprocess", f"copies in a circle: {' <- '.join(chain)}.")
        # A longer chain is the fault of the copy before, which is reported there.
        elif len(chain) == 2:
            yield from _source_problems(entry, chain[1], by_name)
    answers = {words.copy_chain(e.values["name"], by_name)[-1]: e.values["name"] for e in labels}
    for place, col, _ in features:
        chain = words.copy_chain(col["name"], by_name)
        label = answers.get(chain[-1])
        if label not in (None, col["name"]) and col["active"] and col["type"] != words.META:
            text = f"{' <- '.join(chain)} holds the same as the label {label!r}: {_ANSWER}"
            yield Problem(place, text, _REMOVE)


def _source_problems(entry: Column, source: str, by_name: Columns) -> Iterator[Problem]:
    """Yield why a column cannot be copied by another one."""
    if source not in by_name:
        near = suggest(source, by_name) or "Declare it, with active: False if nothing else uses it."
        text = f"copies {source!r}, which is not a column of feature_cols or label_col."
        yield entry.problem("preprocess", text, near)
        return
    made = by_name[source].get("preprocess")
    text = f"copies {source!r}, which is in no file: it is made by {made}."
    if "type" in by_name[source]:
        if words.function_call(made, source):
            hint = "Write the same preprocess here, or copy a column of the files."
            yield entry.problem("preprocess", text, hint)
    # An input that copies such a label is rejected as one that holds the answer.
    elif words.combined_labels(made) and entry.values.get("type", words.META) == words.META:
        yield entry.problem("preprocess", text, "Copy a column of the files.")


def sharing_problems(features: Sequence[Column]) -> Iterator[Problem]:
    """Yield shared tables that FuxiCTR would not share, or not as meant.

    It merges vocabularies in the order of the config and keeps one size per table: a chain, or ids of
    another dtype, would leave ids beyond the table, or tokens that never meet.
    """
    owners: dict[str, Mapping[str, Any]] = {}
    for entry in features:
        col = entry.values
        if not col["active"] or col["type"] not in (words.CATEGORICAL, words.SEQUENCE):
            continue
        shared, key = col.get("share_embedding"), "share_embedding"
        owner = owners.get(shared) if shared is not None else None
        if owner is not None and owner.get(key) is not None:
            text = f"names {shared!r}, which shares a table itself."
            yield entry.problem(key, text, f"Name {owner[key]!r}.")
        elif owner is not None:
            yield from _pair_problems(entry, owner)
        elif shared is not None:
            text = f"must name an active categorical or sequence column before this one, found {shared!r}."
            yield entry.problem(key, text, suggest(shared, owners))
        owners[col["name"]] = col


def _pair_problems(entry: Column, owner: Mapping[str, Any]) -> Iterator[Problem]:
    col = entry.values
    about = f"{col['name']!r} shares the table of {owner['name']!r}"
    tokens = ["str" if c["type"] == words.SEQUENCE else c["dtype"] for c in (col, owner)]
    if tokens[0] != tokens[1]:
        text = (
            f"{about}, but their ids are {tokens[0]} and {tokens[1]} (a sequence's are str) and would "
            "never meet."
        )
        yield entry.problem("dtype", text, "Declare both str.")
    if col.get("pretrained_emb"):
        yield entry.problem("pretrained_emb", f"{about}.", f"Give it to {owner['name']!r}.")
    widths = [c.get("embedding_dim") for c in (col, owner)]
    if None not in widths and widths[0] != widths[1]:
        yield entry.problem("embedding_dim", f"{about}, but their widths are {widths}.")


def combined_problems(labels: Sequence[Column]) -> Iterator[Problem]:
    """Yield labels that combine anything but two labels of the files."""
    in_files = [col["name"] for col in words.labels_of_files(entry.values for entry in labels)]
    for entry in labels:
        pair = words.combined_labels(entry.values.get("preprocess"))
        if pair is None:
            continue
        if pair[0] == pair[1]:
            text = f"combines {pair[0]!r} with itself."
            yield entry.problem("preprocess", text, "Name two labels.")
        for name in dict.fromkeys(pair):
            if name not in in_files:
                there = ", ".join(in_files) or "none"
                text = f"combines {name!r}, but the labels that the files hold are {there}."
                yield entry.problem("preprocess", text, suggest(name, in_files))
        for key in ("fill_na", "missing"):
            if key in entry.values:
                hint = f"Give it to {' and '.join(dict.fromkeys(pair))}."
                yield entry.problem(key, "is not for a label that combines two others.", hint)


def parent_problems(labels: Sequence[Column]) -> Iterator[Problem]:
    """Yield parents that are no labels, and labels nested in themselves."""
    columns = [entry.values for entry in labels]
    names = [col["name"] for col in columns]
    for entry in labels:
        name, parent = entry.values["name"], entry.values.get("parent")
        above = ancestors(columns, name)
        if parent is not None and parent not in names:
            text = f"{parent!r} is not a label of label_col, which has {', '.join(names)}."
            yield entry.problem("parent", text, suggest(parent, names))
        elif name in above:
            circle = " in ".join([name, *above[: above.index(name) + 1]])
            hint = "Name the label that comes first as the parent."
            yield entry.problem("parent", f"nests labels in a circle: {circle}.", hint)
