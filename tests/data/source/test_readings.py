"""How values come from what a file holds: numbers, missing ones, labels that combine or are nested."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.errors import DataError
from tests.support.csv_text import dataset_of, read
from tests.support.datasets import (
    SPLITS,
    built,
    cached,
    feature,
    frames,
    label,
    with_labels,
    write_dataset,
)
from tests.support.faulty_sources import ROWS, message, rewrite, small
from tests.support.opened_caches import opened
from tests.support.project import Project

LABELS = [
    label("click"),
    label("buy"),
    label("both", preprocess="both(click, buy)", parent="click"),
]


def rows(click, buy):
    return pl.DataFrame(
        {"cat": ["a"] * len(click), "click": click, "buy": buy},
        schema={"cat": pl.String, "click": pl.Float64, "buy": pl.Float64},
    )


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_the_cache_holds_1_where_both_are(tmp_path, data_format):
    frames = {
        "train": rows([0, 0, 1, 1, 1], [0, 1, 0, 1, 1]),
        "valid": rows([1, 0], [1, 1]),
        "test": rows([0, 1], [0, 0]),
    }
    dataset = write_dataset(tmp_path, frames, [feature("cat")], LABELS, data_format)
    cache = open_cache(dataset)
    assert cache.labels["train"]["both"]["positives"] == 2
    for split, columns in built(dataset, tmp_path / "again", block_rows=2).items():
        expected = (frames[split]["click"] * frames[split]["buy"]).to_numpy()
        np.testing.assert_array_equal(columns["both"], expected)
        assert columns["both"].dtype == np.uint8


def test_a_label_that_is_missing_where_the_other_is_0_is_known(tmp_path):
    frames = {split: rows([0, 1, 1, 1], [-1, 0, 1, -1]) for split in SPLITS}
    wanted = [label("click"), label("buy", missing=-1), LABELS[2]]
    dataset = write_dataset(tmp_path, frames, [feature("cat")], wanted)
    found = built(dataset, tmp_path / "again", block_rows=10)["train"]["both"]
    np.testing.assert_array_equal(found, np.array([0, 0, 1, np.nan], np.float32))


def test_combined_labels_may_come_of_copies(tmp_path):
    frames = {split: rows([0, 1, 1], [1, 0, 1]) for split in SPLITS}
    wanted = [label("c", preprocess="copy_from(click)"), label("buy")]
    wanted.append(label("both", preprocess="both(c, buy)"))
    dataset = write_dataset(tmp_path, frames, [feature("cat")], wanted)
    found = built(dataset, tmp_path / "again", block_rows=10)["train"]["both"]
    assert found.tolist() == [0, 0, 1]


def test_a_missing_column_is_named_once(tmp_path):
    frames = {split: rows([0, 1], [0, 1]).drop("buy") for split in SPLITS}
    dataset = write_dataset(tmp_path, frames, [feature("cat")], LABELS)
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    assert str(caught.value).count("there is no column 'buy' (label 'buy')") == 3
    assert str(caught.value).count("there is no column") == 3


def test_faulty_values_are_those_of_the_labels_that_are_combined(tmp_path):
    frames = {split: rows([0, 1, None], [0, 1, 1]) for split in SPLITS}
    dataset = write_dataset(tmp_path, frames, [feature("cat")], LABELS)
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    assert str(caught.value).count("label 'click' is missing in 1 row of") == 3
    assert "'both'" not in str(caught.value)


NESTED = [label("click"), label("buy", parent="click")]
pairs = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0, 2.5])), min_size=1
)


@settings(deadline=None, max_examples=25)
@given(train=pairs, data_format=st.sampled_from(["csv", "parquet"]))
def test_rows_that_are_not_nested_are_counted_and_the_first_is_named(
    tmp_path_factory, train, data_format
):
    folder = tmp_path_factory.mktemp("nested")
    frames = dict.fromkeys(SPLITS, rows([1.0, 0.0], [1.0, 0.0])) | {
        "train": rows(*map(list, zip(*train, strict=True)))
    }
    dataset = write_dataset(folder, frames, [feature("cat")], NESTED, data_format)
    wrong = [i for i, (click, buy) in enumerate(train) if buy and not click]
    if not wrong:
        open_cache(dataset)
        return
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    count = "1 row" if len(wrong) == 1 else f"{len(wrong)} rows"
    assert f"label 'buy' is not 0 where its parent 'click' is 0 in {count} of train" in str(
        caught.value
    )
    assert f"row {wrong[0] + 1}, value {train[wrong[0]][1]}" in str(caught.value)
    assert 'preprocess: "both(click, <label>)"' in str(caught.value)


def test_rows_without_parent_or_label_break_nothing(tmp_path):
    frames = {split: rows([-1, 0, 1, 1], [1, -1, -1, 1]) for split in SPLITS}
    wanted = [label("click", missing=-1), label("buy", missing=-1, parent="click")]
    open_cache(write_dataset(tmp_path, frames, [feature("cat")], wanted))


def test_the_command_line_rejects_labels_that_are_not_nested(
    tmp_path, monkeypatch, capsys, root_logging
):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    project.dataset["label_col"][0]["parent"] = "view"
    frame = project.frames["train"]
    wrong = frame.with_row_index("row", 1).filter((pl.col("like") == 1) & (pl.col("view") == 0))
    assert project.run() == 2
    told = capsys.readouterr().err
    assert f"label 'like' is not 0 where its parent 'view' is 0 in {wrong.height} rows" in told
    assert f"row {wrong['row'][0]}, value 1" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_missing_labels(tmp_path, data_format):
    frame = with_labels(ROWS).with_columns(y=pl.Series([0.0, 1.0, None, None]))
    found = message(small(tmp_path, data_format, change={"valid": frame}))
    assert "label 'y' is missing in 2 rows of valid" in found
    assert f"valid.{data_format}, row 3" in found
    assert "A missing label is not a negative" in found


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e39])
@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_numbers_that_are_not_finite(tmp_path, data_format, value):
    frame = with_labels(ROWS).with_columns(
        num=pl.Series([1.0, None, value, value]), y=pl.Series([0.0, value, 1.0, 1.0])
    )
    found = message(small(tmp_path, data_format, change={"test": frame}))
    assert "label 'y' is NaN, infinite or beyond float32 in 1 row of test" in found
    assert "column 'num' is NaN, infinite or beyond float32 in 2 rows of test" in found
    assert f"test.{data_format}, row 3, value" in found
    assert "row 2, value" in found


def test_text_where_numbers_are_declared(tmp_path):
    dataset = small(tmp_path)
    rewrite(dataset["train_data"], b"b,2.5,2,", b"b,2.5,two,")
    rewrite(dataset["valid_data"], b"a,-3.0,3,0.0", b"a,minus,3.5,none")
    found = message(dataset)
    assert "column 'n' is not a whole number (int) in 1 row of train; first in" in found
    assert "train.csv, row 2, value 'two'. Fix the value, or declare dtype: str." in found
    assert "column 'num' is not a number (float) in 1 row of valid" in found
    assert "valid.csv, row 3, value 'minus'" in found
    assert "column 'n' is not a whole number (int) in 1 row of valid" in found
    assert "value '3.5'" in found
    assert "label 'y' is not a number in 1 row of valid" in found
    assert "4 problems" in found


def test_text_where_numbers_are_declared_in_parquet(tmp_path):
    frame = with_labels(ROWS).with_columns(
        num=pl.Series(["1", " 2.5 ", "x", ""]), n=pl.Series([1.0, 2.5, 3.0, float("nan")])
    )
    found = message(small(tmp_path, "parquet", change={"train": frame}))
    assert "column 'num' is not a number (float) in 1 row of train" in found
    assert "train.parquet, row 3, value 'x'" in found
    assert "column 'n' is not a whole number (int) in 1 row of train" in found
    assert "row 2, value 2.5" in found


@pytest.mark.parametrize("vectors", [[[1.0, 2.0], None], [[1.0], [1.0, 2.0]], [[1.0, None]] * 2])
def test_vectors_that_are_none(tmp_path, vectors):
    frame = pl.DataFrame({"vec": vectors, "y": [0.0, 1.0]})
    features = [feature("vec", "embedding", "float", pretrain_dim=2)]
    dataset = write_dataset(
        tmp_path, dict.fromkeys(SPLITS[:2], frame), features, data_format="parquet"
    )
    found = message(dataset)
    assert "column 'vec' is no vector of 2 finite numbers (pretrain_dim) in" in found


NUMBERS = ["1", " 1", "1 ", "\t1\t", "+7", "007", "-0", " 12 ", "\u00a03", "9007199254740993"]


@pytest.mark.parametrize(
    ("kind", "dtype", "cast", "more"),
    [
        ("numeric", "float", float, ["1.", " .5 ", "1e3 ", "-1E-2"]),
        ("numeric", "int", int, []),
        ("categorical", "int", int, []),
        ("meta", "int", int, []),
    ],
)
def test_numbers_with_blanks_are_what_python_says(tmp_path, kind, dtype, cast, more):
    values = NUMBERS + more
    text = "n,c,y\n" + "".join(f"{value},z{i},{i % 2} \n" for i, value in enumerate(values))
    features = [feature("n", kind, dtype), feature("c")]
    frame = read(dataset_of(tmp_path, text, features), tmp_path)
    assert frame["n"].to_list() == [cast(value.strip()) for value in values]
    assert frame["y"].to_list() == [i % 2 for i in range(len(values))]


@pytest.mark.parametrize("value", ["1_000", "٣", "1e3", "7.0", "0x10", "x", "1 2", str(2**63)])
def test_a_number_that_is_none_is_named_with_its_row(tmp_path, value):
    text = f"n,c,y\n1,a,0\n2 ,b,1\n{value},c,0\n"
    features = [feature("n", dtype="int"), feature("c")]
    with pytest.raises(DataError) as caught:
        open_cache(dataset_of(tmp_path, text, features))
    assert f"column 'n' is not a whole number (int) in 1 row of train; first in {tmp_path}" in str(
        caught.value
    )
    assert f"row 3, value {value!r}" in str(caught.value)
    assert "row 2" not in str(caught.value)


def test_null_values(tmp_path):
    text = 'a,n,s,y,c\nNA,1,NA,1,x\nb,NA,p^NA,NA ,x\n-,\\N,"NA",0,\n'
    features = [feature("a"), feature("n", "numeric", "float"), feature("s", "sequence")]
    labels = [label(missing=float("nan"))]
    dataset = dataset_of(tmp_path, text, features, labels, null_values=["NA", "-", "\\N"])
    frame = read(dataset, tmp_path)
    assert frame["a"].to_list() == [None, "b", None]
    assert frame["n"].to_list() == [1, None, None]
    assert frame["s"].to_list() == [None, ["p", "NA"], None]
    np.testing.assert_array_equal(frame["y"], [1, np.nan, 0])
    said = pd.read_csv(dataset["train_data"], keep_default_na=False, na_values=["NA", "-", "\\N"])
    assert frame["a"].is_null().to_list() == said["a"].isna().to_list()
    with pytest.raises(DataError, match="value 'NA'"):
        open_cache({key: value for key, value in dataset.items() if key != "null_values"})


def test_copy_of_text_as_a_number_is_rejected(tmp_path):
    features = [feature("cat"), feature("size", "numeric", "float", preprocess="copy_from(cat)")]
    dataset = write_dataset(tmp_path, frames("cat"), features)
    with pytest.raises(DataError, match=r"'size' \(read from 'cat'\) is not a number .float. in 5"):
        open_cache(dataset)


def test_nan_in_a_column_of_whole_numbers(tmp_path):
    values = [1.0, float("nan"), 3.0, 1.0]
    for i, column in enumerate((feature("x", dtype="int"), feature("x", "numeric", "int"))):
        features = [column, feature("cat")]
        columns = {"train": {"x": values, "cat": ["a", "b"] * 2}}
        with pytest.raises(DataError) as caught:
            opened(tmp_path / str(i), columns, features, "parquet")
        text = str(caught.value)
        assert "column 'x' is NaN in 1 row of train; first in" in text
        assert "row 2, value nan" in text
        assert "dtype: str" not in text
        # The advice works, in both of its forms.
        frame = pl.DataFrame(columns["train"])
        for cured in (
            frame["x"].fill_nan(None),
            pl.from_pandas(frame.to_pandas()["x"].astype("Int64")),
        ):
            assert cured.null_count() == 1
            fixed = {"train": {**columns["train"], "x": cured}}
            cache = opened(tmp_path / f"{i}{cured.dtype}", fixed, features, "parquet")
            found = cached(cache)["train"]["x"].tolist()
            # Missing is 0: the token before 1 and 3, or the number.
            assert found == ([2, 1, 3, 2] if column["type"] == "categorical" else [1, 0, 3, 1])


def test_a_broken_number_in_a_numeric_column(tmp_path):
    columns = {"train": {"x": [1.0, 2.5], "z": ["1", "two"], "cat": ["a", "b"]}}
    features = [feature("x", "numeric", "int"), feature("z", "numeric", "float"), feature("cat")]
    with pytest.raises(DataError) as caught:
        opened(tmp_path, columns, features)
    # `dtype: str` would be rejected: a number is no text.
    assert "Fix the value, or declare dtype: float." in str(caught.value)
    assert "value 'two'. Fix the value.\n" in str(caught.value)
    assert "dtype: str" not in str(caught.value)


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["categorical", "meta"])
def test_ids_that_a_float_cannot_tell_apart(tmp_path, kind, data_format):
    values = [2**53, 2**53 + 1, None, 5]
    assert float(values[0]) == float(values[1])
    columns = {"train": {"x": values, "cat": ["a", "b"] * 2}}
    features = [feature("cat"), feature("x", kind, "float")]
    with pytest.raises(DataError) as caught:
        opened(tmp_path, columns, features, data_format)
    text = (
        "column 'x' is a float, in which neighbouring ids become equal in 2 rows of train; first in"
    )
    assert text in str(caught.value)
    assert "Declare dtype: int or str." in str(caught.value)
    features[1]["dtype"] = "int"
    ids = cached(opened(tmp_path / "cured", columns, features, data_format))["train"]["x"]
    assert len(set(ids.tolist())) == 4


def test_ids_that_a_float32_cannot_tell_apart(tmp_path):
    columns = {"train": {"x": pl.Series([2.0**24, 5.0], dtype=pl.Float32)}}
    with pytest.raises(DataError, match="neighbouring ids become equal in 1 row of train"):
        opened(tmp_path, columns, [feature("x", dtype="float")], "parquet")
    columns["train"]["x"] = columns["train"]["x"].cast(pl.Float64)
    assert opened(tmp_path / "64", columns, [feature("x", dtype="float")], "parquet").rows
