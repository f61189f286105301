"""The forms of ``preprocess``."""

import pytest

from fuxictr_stem.config.column_words import (
    combined_labels,
    copied_column,
    copy_chain,
    function_call,
    labels_of_files,
)


@pytest.mark.parametrize(
    ("preprocess", "copied", "called", "combined"),
    [
        (None, None, None, None),
        ("copy_from", "name", None, None),
        ("copy_from(user)", "user", None, None),
        (" copy_from ( user id ) ", "user id", None, None),
        ("copy_from()", "name", None, None),
        ("copy_from(a(b))", None, None, None),
        ("hour", None, ("hour", "name"), None),
        ("hour(time)", None, ("hour", "time"), None),
        ("hour()", None, ("hour", ""), None),
        ("2hour(time)", None, None, None),
        ("both(a, b)", None, ("both", "a, b"), ("a", "b")),
        (" both( a b ,c ) ", None, ("both", "a b ,c"), ("a b", "c")),
        ("both(a)", None, ("both", "a"), None),
        ("both(a, b, c)", None, ("both", "a, b, c"), None),
        ("both(a, )", None, ("both", "a,"), None),
    ],
)
def test_each_form_is_read(preprocess, copied, called, combined):
    assert copied_column(preprocess, "name") == copied
    assert function_call(preprocess, "name") == called
    assert combined_labels(preprocess) == combined


@pytest.mark.parametrize(
    ("copies", "chain"),
    [
        ({}, ["a"]),
        ({"a": "a"}, ["a"]),
        ({"a": "b", "b": "c"}, ["a", "b", "c"]),
        ({"a": "b", "b": "a"}, ["a", "b", "a"]),
        ({"a": "b", "b": "c", "c": "b"}, ["a", "b", "c", "b"]),
        ({"a": "b", "b": "b"}, ["a", "b"]),
    ],
)
def test_a_chain_ends_at_the_files_or_at_the_first_repetition(copies, chain):
    columns = {name: {"preprocess": f"copy_from({source})"} for name, source in copies.items()}
    assert copy_chain("a", columns) == chain


def test_the_files_hold_all_labels_but_combined_ones():
    labels = [{"name": "a"}, {"name": "b", "preprocess": "copy_from(x)"}]
    both = {"name": "both", "preprocess": "both(a, b)"}
    assert labels_of_files([both, *labels]) == labels
