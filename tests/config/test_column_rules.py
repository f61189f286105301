"""Rules between columns: copies, shared tables, nested and combined labels."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fuxictr_stem import registry
from tests.support.config_files import (
    Net,
    both,
    check_problem_of_dataset,
    column,
    columns,
    load,
    more_labels,
    problems,
)


@pytest.fixture(autouse=True)
def _fake_model(monkeypatch):
    monkeypatch.setattr(registry, "get_model", lambda name: Net)


def labels(*entries):
    return {"label_col": list(entries)}


SHARING = [
    (column(share_embedding="usr"), "must name an active .* 'usr'. Did you mean 'user'"),
    (column(share_embedding="x"), "share_embedding: must name an active"),
    (column(share_embedding="city", dtype="int"), "share_embedding: must name an active"),
    (column(share_embedding="price"), "share_embedding: must name an active"),
    (column(share_embedding="history"), "shares a table itself. Name 'item'"),
    (column(share_embedding="item", dtype="int"), "their ids are int and str"),
    (
        columns(
            {"name": "a", "dtype": "str", "type": "categorical", "embedding_dim": 4},
            {"name": "b", "dtype": "str", "type": "categorical", "embedding_dim": 8}
            | {"share_embedding": "a"},
        ),
        r"widths are \[8, 4\]",
    ),
]

COPIES = [
    (column(preprocess="convert(x)"), "preprocess: must be copy_from"),
    (column(preprocess="load_pickle(x.pkl)"), "preprocess: must be copy_from"),
    (column(preprocess="copyfrom(user)"), "Did you mean 'copy_from'"),
    (column(preprocess="copy_from()"), "preprocess: must be copy_from"),
    (column(preprocess="copy_from(usr)"), "'usr', which is not a column .* mean 'user'"),
    (
        column(preprocess="copy_from(click)"),
        r"x <- click holds the same as the label 'click': .* answer",
    ),
    (
        labels({"name": "y", "dtype": "float", "preprocess": "copy_from(price)"}),
        r"\(price\): price holds the same as the label 'y'",
    ),
]


@pytest.mark.parametrize(("changes", "message"), [*SHARING, *COPIES])
def test_a_bad_dataset_is_one_problem_that_says_what_to_do(tmp_path, changes, message):
    check_problem_of_dataset(tmp_path, changes, message)


def test_copies_in_chains_and_circles(tmp_path):
    def meta(name, source, kind="meta"):
        return {"name": name, "dtype": "float", "type": kind, "preprocess": f"copy_from({source})"}

    chain = columns(meta("a", "click"), meta("b", "a", "numeric"))
    (line,) = problems(tmp_path, dataset=chain)
    assert "(b): b <- a <- click holds the same as the label 'click'" in line
    twins = columns(meta("x", "city", "numeric"))
    twins |= labels({"name": "y", "dtype": "int", "preprocess": "copy_from(city)"})
    (line,) = problems(tmp_path, dataset=twins)
    assert "x <- city holds the same as the label 'y'" in line
    lines = problems(tmp_path, dataset=columns(meta("a", "b"), meta("b", "a")))
    assert "circle: a <- b <- a" in lines[0]
    assert len(lines) == 2
    load(tmp_path, dataset=columns(meta("a", "click"), meta("c", "c"), meta("d", "city")))


def test_a_pretrained_column_that_shares_is_rejected(tmp_path):
    np.savez(tmp_path / "v.npz", key=["a"], value=np.ones((1, 4)))
    vectors = {"pretrained_emb": str(tmp_path / "v.npz"), "pretrain_dim": 4}
    (line,) = problems(tmp_path, dataset=column(share_embedding="item", **vectors))
    assert "x).pretrained_emb: 'x' shares the table of 'item'. Give it to 'item'." in line


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            both(pair="click"),
            r"preprocess: must be copy_from\(<column>\) or both\(<label>, <label>\)",
        ),
        (both(pair="click, buy, user"), "preprocess: must be"),
        (both() | {"preprocess": "both(click"}, 'Within {...} write it in quotes: "both'),
        (both(pair="click, "), "preprocess: must be"),
        (both(pair="__import__('os'), buy"), "preprocess: must be"),
        (both(pair="click, click"), "combines 'click' with itself. Name two labels."),
        (both(pair="click, bye"), "combines 'bye', but .* hold are click, buy. Did you mean 'buy'"),
        (
            both(pair="click, price"),
            "combines 'price', but the labels that the files hold are click",
        ),
        (both(pair="click, click_buy"), "combines 'click_buy', but the labels that the files hold"),
        (both(fill_na=0), "fill_na: is not for a label .* Give it to click and buy."),
        (both(missing=-1), "missing: is not for a label .* Give it to click and buy."),
        (both(parent="clik"), "parent: 'clik' is not a label of label_col, .* mean 'click'"),
        (both(parent="click_buy"), "parent: nests labels in a circle: click_buy in click_buy."),
        (both(parent=""), "parent: must be text"),
    ],
)
def test_a_wrong_label_is_one_problem(tmp_path, entry, message):
    (line,) = problems(tmp_path, dataset=more_labels(entry))
    assert re.search(message, line), line


def test_circles_of_parents_are_named(tmp_path):
    wrong = {
        "label_col": [
            {"name": "a", "dtype": "int", "parent": "b"},
            {"name": "b", "dtype": "int", "parent": "a"},
            {"name": "c", "dtype": "int", "parent": "b"},
        ]
    }
    lines = problems(tmp_path, dataset=wrong)
    assert len(lines) == 2
    assert "(a).parent: nests labels in a circle: a in b in a." in lines[0]


def test_nothing_copies_a_label_that_no_file_holds(tmp_path):
    copy = {"name": "x", "dtype": "float", "preprocess": "copy_from(click_buy)"}
    (line,) = problems(tmp_path, dataset=more_labels(both(), copy))
    assert "copies 'click_buy', which is in no file: it is made by both(click, buy)." in line
    for kind, message in (("numeric", "would see the answer"), ("meta", "which is in no file")):
        features = [{"name": "user", "dtype": "str", "type": "categorical"}, {**copy, "type": kind}]
        changes = {**more_labels(both()), "feature_cols": features}
        (line,) = problems(tmp_path, dataset=changes)
        assert message in line
