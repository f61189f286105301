"""The dataset's part of a config: files, groups, facts of the source, special characters."""

from __future__ import annotations

import logging

import pytest

from fuxictr_stem import registry
from fuxictr_stem.config.dataset_config import load_dataset
from fuxictr_stem.errors import ConfigError
from tests.support.config_files import (
    DATASET,
    REMOVE,
    Net,
    check_problem_of_dataset,
    columns,
    load,
    problems,
    write,
)


@pytest.fixture(autouse=True)
def _fake_model(monkeypatch):
    monkeypatch.setattr(registry, "get_model", lambda name: Net)


def labels(*entries):
    return {"label_col": list(entries)}


BAD_DATASETS = [
    ({"train_data": REMOVE}, "toy.train_data: is missing"),
    ({"valid_data": ""}, "toy.valid_data: must be text"),
    ({"data_format": "h5"}, "data_format: must be one of csv, parquet, found 'h5'"),
    ({"sep": "::"}, "sep: must be one ASCII character"),
    ({"min_categr_count": 0}, "min_categr_count: must be a whole number >= 1"),
    ({"feature_col": []}, "Did you mean 'feature_cols'"),
    ({"batch_size": 4}, "belongs to the experiment"),
    ({"test_size": 0.1}, "cannot split the data itself"),
    ({"rebuild_dataset": False}, "rebuild_dataset: must be True, found False"),
    ({"rebuild_dataset": 1}, "rebuild_dataset: must be True, found 1"),
    ({"data_block_size": 10}, "data_block_size: must be 0, found 10"),
    ({"source": "web"}, "source: must be a mapping"),
    ({"group_id": 3}, "group_id: must be text .*quotes"),
    ({"prepare": {"preparer": "p"}}, "prepare.raw_dir: is missing. Add it"),
    (
        {"prepare": {"preparer": "p", "raw_dir": "r", "stand_in": "toy"}},
        "prepare.stand_in: must be another dataset of this folder, found 'toy'",
    ),
    ({"prepare": {"preparer": "p", "raw_dir": "r", "x": {"y": 1}}}, r"prepare.x: must be"),
    ({"feature_cols": REMOVE}, "toy.feature_cols: is missing"),
    ({"feature_cols": {"name": "x"}}, "feature_cols: must be a list of mappings"),
    ({"feature_cols": []}, r"feature_cols: must be a list of mappings, found \[\]"),
    (columns("x"), r"feature_cols\[5\]: must be a mapping, found 'x'"),  # type: ignore[arg-type]
    (
        {"feature_cols": [{**DATASET["feature_cols"][1], "active": False}]},
        "must have an active column that is not meta",
    ),
    (
        {"feature_cols": [DATASET["feature_cols"][-1]]},
        "must have an active column that is not meta",
    ),
    ({"label_col": REMOVE}, "toy.label_col: is missing"),
    (labels(), r"label_col: must be a list of mappings, found \[\]"),
    (labels({"name": "click"}), r"label_col\[0\] \(click\).dtype: is missing"),
    (labels({"name": "click", "dtype": "str"}), "dtype: must be one of int, float"),
    (labels({"name": "y", "dtype": "int", "active": False}), "active: must be True"),
    (labels({"name": "y", "dtype": "int", "type": "numeric"}), "type: is not a known key"),
    (labels(*[{"name": "y", "dtype": "int"}] * 2), "'y' is in label_col already"),
    (labels({"name": "item", "dtype": "int"}), r"'item' is a label, too: .* see the answer"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_DATASETS)
def test_a_bad_dataset_is_one_problem_that_says_what_to_do(tmp_path, changes, message):
    check_problem_of_dataset(tmp_path, changes, message)


def test_no_ops_of_fuxictr_and_empty_keys_are_left_out(tmp_path):
    changes = {"rebuild_dataset": True, "data_block_size": 0, "prepare": None, "source": None}
    dataset = load_dataset(write(tmp_path, dataset=changes), "toy")
    assert not set(changes) & set(dataset)
    assert dataset["test_data"] is None


def test_options_of_a_preparer_pass(tmp_path):
    prepare = {"preparer": "p", "raw_dir": "raw", "valid_date": 20220507, "labels": ["a", "b"]}
    source = {"rows": {"train": 3}, "retrieved": "2024-01-05"}
    params = load(tmp_path, dataset={"prepare": prepare, "source": source})
    assert params["prepare"] == prepare
    assert params["source"] == source


def test_facts_that_nothing_compares_with_have_any_form(tmp_path):
    source = {"rows": 5, "positive_rate": "some 2 %"}
    assert load(tmp_path, dataset={"source": source})["source"] == source


@pytest.mark.parametrize(
    "source",
    [None, {}, {"rows": {"raw": 5, "train": "1.5M", "valid": None}}, {"positive_rate": {"y": 0}}],
)
def test_facts_that_a_preparation_compares_with_pass(tmp_path, source):
    load(tmp_path, dataset={"prepare": {"preparer": "p", "raw_dir": "raw"}, "source": source})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"rows": 5}, r"source.rows: must be a mapping, found 5. Write rows: \{raw: 1000"),
        ({"rows": [1]}, r"source.rows: must be a mapping, found \[1\]"),
        ({"rows": "abc"}, "source.rows: must be a mapping, found 'abc'"),
        ({"rows": {"raw": [1]}}, r"source.rows.raw: must be a whole number >= 0, or text .* \[1\]"),
        ({"rows": {"raw": True}}, "source.rows.raw: must be a whole number"),
        ({"rows": {"train": -1}}, "source.rows.train: must be a whole number"),
        ({"positive_rate": 3}, r"positive_rate: must be a mapping, .* positive_rate: \{click: 0.2"),
        (
            {"positive_rate": {"y": 10**400}},
            "positive_rate.y: must be a finite number >= 0 and < 1",
        ),
        ({"positive_rate": {"y": "2 %"}}, "positive_rate.y: must be a finite number"),
    ],
)
def test_facts_that_a_preparation_could_not_compare_with_are_rejected(tmp_path, source, message):
    prepare = {"preparer": "p", "raw_dir": "raw"}
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, dataset={"prepare": prepare, "source": source})


def test_an_inactive_group_is_rejected(tmp_path):
    more = columns({"name": "raw", "dtype": "int", "type": "meta", "active": False})
    (line,) = problems(tmp_path, {"group_id": "raw"}, more)
    assert "names the inactive column 'raw'. Set active: True." in line


def test_a_feature_that_groups_gets_a_meta_column(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    fill = columns({"name": "u", "dtype": "int", "type": "categorical", "fill_na": -1})
    params = load(tmp_path, {"group_id": "u", "metrics": ["gAUC"]}, fill)
    assert params["group_id"] == "u_group"
    added = {"name": "u_group", "active": True, "type": "meta", "dtype": "int", "fill_na": -1}
    assert {**added, "preprocess": "copy_from(u)"} in params["feature_cols"]
    assert "u_group" in caplog.text
    assert load_dataset(write(tmp_path, dataset={"group_id": "city"}), "toy")["group_id"] == (
        "city_group"
    )
    assert load(tmp_path, {"group_id": "session"})["group_id"] == "session"
    copy = {"name": "raw", "dtype": "str", "type": "meta", "preprocess": "copy_from( user )"}
    params = load(tmp_path, {"group_id": "user"}, columns(copy))
    assert (params["group_id"], len(params["feature_cols"])) == ("raw", 7)
    params = load(tmp_path, {"group_id": "user"}, columns({**copy, "active": False}))
    assert params["group_id"] == "user_group"


def test_special_characters_of_csv_files(tmp_path):
    text = "\n".join(
        problems(
            tmp_path, {}, {"sep": r"\t", "csv_escape": "ab", "null_values": [-1], "csv_quote": "é"}
        )
    )
    assert (
        r"""toy.sep: must be one ASCII character, found '\\t'. Write it in double quotes: "\t"."""
        in text
    )
    assert "toy.csv_escape: must be one ASCII character, or null, found 'ab'." in text
    assert "toy.csv_quote: must be one ASCII character, or null, found 'é'." in text
    assert (
        "toy.null_values: must be a list, each entry text, found [-1]. Write it in quotes." in text
    )
    same = {"sep": '"', "csv_escape": '"'}
    text = "\n".join(problems(tmp_path, {}, same))
    assert "toy.csv_escape: must differ from csv_quote, found '\"' for both." in text
    assert "toy.csv_quote: must differ from sep, found '\"' for both." in text
    text = "\n".join(problems(tmp_path, {}, {"sep": "\n"}))
    assert "toy.sep: must be one ASCII character, found '\\n'. It cannot end lines." in text
    for key, value in (("csv_quote", None), ("csv_escape", "\\"), ("null_values", ["NA"])):
        settings = {"data_format": "parquet", key: value}
        text = "\n".join(problems(tmp_path, {}, settings))
        assert f"toy.{key}: is for CSV files, not for parquet. Leave it out." in text
    write(tmp_path, {}, {"csv_quote": None, "csv_escape": "\\", "null_values": [""]})
    dataset = load_dataset(tmp_path, "toy")
    assert (dataset["csv_quote"], dataset["csv_escape"], dataset["null_values"]) == (
        None,
        "\\",
        [""],
    )
