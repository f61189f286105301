"""What is wrong with source files is said before anything is built: file, column, row, value."""

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.checks.check_labels import check_labels
from fuxictr_stem.data.source.dialect import where_not_utf8
from fuxictr_stem.errors import DataError
from tests.support.datasets import SPLITS, feature, label, with_labels, write_dataset

ROWS = {"cat": ["a", "b", "a", "b"], "num": [1.0, 2.5, -3.0, 4.0], "n": [1, 2, 3, 4]}
FEATURES = [feature("cat"), feature("num", "numeric", "float"), feature("n", dtype="int")]


def small(folder, data_format="csv", features=None, change=None, **more):
    """Write three alike splits; ``change`` replaces the frame of some of them."""
    frames = {split: with_labels(ROWS) for split in SPLITS}
    frames |= change or {}
    return write_dataset(folder, frames, features or FEATURES, data_format=data_format, **more)


def message(dataset, error=DataError):
    with pytest.raises(error) as caught:
        open_cache(dataset)
    root = Path(dataset["data_root"])
    left = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert not left, "a refused source leaves no cache"
    return str(caught.value)


def rewrite(path, old, new):
    text = Path(path).read_bytes()
    assert old in text
    Path(path).write_bytes(text.replace(old, new, 1))


def test_all_missing_files_are_named(tmp_path):
    dataset = small(tmp_path)
    Path(dataset["valid_data"]).unlink()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.parquet").touch()
    dataset |= {"train_data": str(tmp_path / "trian.csv"), "test_data": str(tmp_path / "parts")}
    found = message(dataset)
    assert "3 problems" in found
    assert f"train_data: '{tmp_path}/trian.csv' does not exist" in found
    assert "Did you mean 'train.csv'" in found
    assert f"valid_data: '{tmp_path}/valid.csv' does not exist (looked for the file" in found
    assert f"test_data: folder '{tmp_path}/parts' has no parts: looked for" in found
    assert "/parts/*.csv" in found


def test_a_file_of_another_format(tmp_path):
    dataset = small(tmp_path, "parquet") | {"data_format": "csv"}
    assert "train.parquet' is a file that does not end with .csv" in message(dataset)


def test_a_missing_folder(tmp_path):
    dataset = small(tmp_path) | {"train_data": str(tmp_path / "nothing")}
    assert "looked for the folder of *.csv, .tsv, .csv.gz or .tsv.gz parts" in message(dataset)


def test_empty_files(tmp_path):
    dataset = small(tmp_path)
    Path(dataset["train_data"]).write_text("")
    assert "train.csv' is empty (0 bytes)" in message(dataset)


def test_no_rows(tmp_path):
    dataset = small(tmp_path, change={"valid": with_labels(ROWS).clear()})
    assert "valid has no rows" in message(dataset)
    parquet = small(tmp_path / "p", "parquet", change={"valid": with_labels(ROWS).clear()})
    assert "valid has no rows" in message(parquet)


def test_a_part_without_rows_is_fine(tmp_path):
    dataset = small(tmp_path)
    folder = tmp_path / "parts"
    folder.mkdir()
    with_labels(ROWS).clear().write_csv(folder / "a.csv")
    with_labels(ROWS).write_csv(folder / "b.csv")
    dataset["train_data"] = str(folder)
    assert open_cache(dataset).rows["train"] == 4


def test_a_path_with_wildcard_characters_is_taken_as_it_is(tmp_path):
    dataset = small(tmp_path / "run [1]*")
    assert open_cache(dataset).rows == {"train": 4, "valid": 4, "test": 4}


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_missing_columns(tmp_path, data_format):
    features = [*FEATURES, feature("g", "meta", preprocess="copy_from(catt)")]
    change = {"test": with_labels(ROWS).rename({"num": "numb"}).drop("y")}
    found = message(small(tmp_path, data_format, features, change))
    assert (
        f"train.{data_format} (train): there is no column 'catt' (copied by feature 'g')" in found
    )
    assert "Did you mean 'cat'?" in found
    assert "(test): there is no column 'num' (feature 'num'). Did you mean 'numb'?" in found
    assert "(test): there is no column 'y' (label 'y')." in found
    assert "5 problems" in found


def test_a_copied_column_needs_only_its_source(tmp_path):
    features = [*FEATURES, feature("g", "meta", preprocess="copy_from(cat)")]
    assert open_cache(small(tmp_path, features=features)).rows["train"] == 4


def test_columns_that_nobody_declares_do_not_matter(tmp_path):
    # Neither in parts of one split nor between splits.
    more = with_labels(ROWS).with_columns(extra=pl.lit("x"))
    dataset = small(tmp_path, change={"valid": more.select(reversed(more.columns))})
    assert open_cache(dataset).rows["valid"] == 4


def test_a_wrong_separator(tmp_path):
    found = message(small(tmp_path) | {"sep": "\t"})
    assert "its header 'cat,num,n,y' is one column: is sep '\\t' right?" in found
    # That alone: twenty columns that are not there would hide it.
    assert "there is no column" not in found


def test_a_header_of_blank_lines(tmp_path):
    dataset = small(tmp_path)
    Path(dataset["valid_data"]).write_text("\n\n")
    found = message(dataset)
    assert found.endswith(
        "(valid): it has only blank lines. Write the column names as its first line."
    )


def test_a_gzipped_file_whose_name_does_not_say_so(tmp_path):
    dataset = small(tmp_path)
    path = Path(dataset["valid_data"])
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert "it is gzipped, but its name does not say so" in message(dataset)


def test_a_tab_separates(tmp_path):
    assert open_cache(small(tmp_path, sep="\t")).rows["train"] == 4


def test_doubled_header(tmp_path):
    dataset = small(tmp_path)
    rewrite(dataset["valid_data"], b"num,n,", b"num,num,")
    assert "valid.csv (valid): its header names column 'num' 2 times" in message(dataset)


def test_byte_order_mark_and_line_ends(tmp_path):
    dataset = small(tmp_path)
    path = Path(dataset["train_data"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert open_cache(dataset).labels["train"]["y"]["positives"] == 2


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


def test_the_part_with_the_bad_row_is_named(tmp_path):
    dataset = small(tmp_path)
    folder = tmp_path / "parts"
    folder.mkdir()
    for name in "abc":
        with_labels(ROWS).write_csv(folder / f"{name}.csv")
    rewrite(folder / "b.csv", b"4.0,4", b"4.0,four")
    dataset["train_data"] = str(folder)
    assert "parts/b.csv, row 4, value 'four'" in message(dataset)


def test_not_utf8(tmp_path):
    dataset = small(tmp_path)
    rewrite(dataset["valid_data"], b"a,-3.0", b"\xe9,-3.0")
    found = message(dataset)
    assert "valid.csv (valid): line 4 is not UTF-8" in found


def test_header_not_utf8(tmp_path):
    dataset = small(tmp_path)
    rewrite(dataset["train_data"], b"cat", b"\xffc")
    assert "train.csv (train): line 1 is not UTF-8" in message(dataset)


@example(text="x日\n", at=4, bad=b"\xff")
@given(
    text=st.text("aé日\n", max_size=30),
    at=st.integers(0, 90),
    bad=st.sampled_from([b"\xff", b"\xc3("]),
)
def test_where_not_utf8(tmp_path_factory, text, at, bad):
    data = text.encode()
    at = min(at, len(data))
    path = tmp_path_factory.mktemp("utf8") / "x"
    path.write_bytes(data[:at] + bad + data[at:])
    try:
        path.read_bytes().decode()
        line = None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
    found = where_not_utf8(path)
    assert (found is None) if line is None else found.startswith(f"line {line} is not UTF-8")
    path.write_bytes(data)
    assert where_not_utf8(path) is None


def test_too_many_fields(tmp_path):
    dataset = small(tmp_path)
    rewrite(dataset["train_data"], b"b,2.5", b"b,2.5,7,8,9")
    found = message(dataset)
    assert "train.csv (train): 1 row has another number of fields than the header's" in found
    assert ": row 3 (the header is row 1) has 7." in found


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_field_too_many_in_a_column_that_is_not_read(tmp_path, where):
    """polars does not count fields when it reads a choice of columns: values would shift."""
    rng = range(40)
    frames = {}
    for split in SPLITS:
        frame = with_labels(pl.DataFrame({"cat": [f"c{i % 4}" for i in rng], "free": ["t"] * 40}))
        frames[split] = frame.select("free", "cat", "y") if where == "first" else frame
    dataset = write_dataset(tmp_path, frames, [feature("cat")])
    path = Path(dataset["train_data"])
    lines = path.read_text().splitlines()
    lines[7] = lines[7].replace("t", "t,1", 1)
    path.write_text("\n".join(lines) + "\n")
    assert "1 row has another number of fields" in message(dataset)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_row_of_too_few_fields_that_is_not_utf8(tmp_path):
    dataset = small(tmp_path)
    path = Path(dataset["train_data"])
    path.write_bytes(path.read_bytes() + b"\xe9")
    line = path.read_bytes().count(b"\n") + 1
    assert f"line {line} is not UTF-8" in message(dataset)


def test_a_row_that_was_cut_off(tmp_path):
    dataset = small(tmp_path)
    path = Path(dataset["test_data"])
    path.write_text(path.read_text().rstrip("\n").rpartition(",")[0])
    assert "test.csv (test): 1 row has another number of fields" in message(dataset)


def test_no_parquet_file(tmp_path):
    dataset = small(tmp_path, "parquet")
    Path(dataset["test_data"]).write_bytes(b"PAR1 is not enough")
    assert "test.parquet (test): cannot be read as parquet" in message(dataset)


def test_a_parquet_file_cut_off(tmp_path):
    # The footer is whole, the data before it is not.
    dataset = small(tmp_path, "parquet")
    path = Path(dataset["train_data"])
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(200) + data[204:])
    assert "train.parquet" in message(dataset)


@pytest.mark.parametrize(
    ("column", "values", "text"),
    [
        ("cat", [["a"]] * 4, "lists are for sequences"),
        ("n", pl.Series([0] * 4).cast(pl.Date), "declare str, or store a number"),
        ("cat", [{"a": 1}] * 4, "is declared str, found Struct"),
        ("cat", [b"a"] * 4, "is declared str, found Binary"),
        ("y", [[1.0]] * 4, "label 'y'"),
    ],
)
def test_parquet_types_that_cannot_be_read(tmp_path, column, values, text):
    frame = with_labels(ROWS).with_columns(pl.Series(column, values))
    assert text in message(small(tmp_path, "parquet", change={"train": frame}))


def test_one_token_two_texts(tmp_path):
    # pandas turns integers with a missing value into floats: then 1 is '1' here and '1.0' there.
    frame = with_labels(ROWS).with_columns(pl.col("n").cast(pl.Float64))
    dataset = small(tmp_path, "parquet", [feature("n")], {"valid": frame})
    found = message(dataset)
    assert "column 'n' is Int64 in" in found
    assert "Float64 in" in found
    dataset["feature_cols"] = [feature("n", dtype="int")]
    assert open_cache(dataset).rows["valid"] == 4


@pytest.mark.parametrize("vectors", [[[1.0, 2.0], None], [[1.0], [1.0, 2.0]], [[1.0, None]] * 2])
def test_vectors_that_are_none(tmp_path, vectors):
    frame = pl.DataFrame({"vec": vectors, "y": [0.0, 1.0]})
    features = [feature("vec", "embedding", "float", pretrain_dim=2)]
    dataset = write_dataset(
        tmp_path, dict.fromkeys(SPLITS[:2], frame), features, data_format="parquet"
    )
    found = message(dataset)
    assert "column 'vec' is no vector of 2 finite numbers (pretrain_dim) in" in found


def test_a_pretrained_file_must_be_there(tmp_path):
    features = [feature("cat", pretrained_emb=str(tmp_path / "no.npz"), pretrain_dim=2)]
    assert "pretrained_emb of column 'cat': no file" in message(small(tmp_path, features=features))


def stats(**change):
    one = {"rows": 7500, "nulls": 0, "nonfinite": 0, "min": 0.0, "max": 1.0, "sum": 9.0}
    one |= {"positives": 9, "other": 0, "example": None}
    return {
        "train": {"like": one, "watch": one},
        "valid": {"like": one, "watch": {**one, **change}},
    }


BOTH = {"like": "binary_classification", "watch": "binary_classification"}


def test_good_labels_pass():
    check_labels(stats(), BOTH)
    check_labels(stats(other=5, example=0.5), BOTH | {"watch": "regression"})
    check_labels(stats(positives=0), {"like": "binary_classification"})


ONE_CLASS = {"no positive": {"positives": 0}, "no negative": {"positives": 7500}}


@pytest.mark.parametrize(
    ("metrics", "needs"),
    [
        (["logloss"], []),
        (["binary_crossentropy"], []),
        (["logloss", "MSE"], []),
        (["calibration"], ["no positive"]),
        (["logloss", "calibration_error"], ["no positive"]),
        (["prAUC"], ["no positive"]),
        (["logloss", "NE"], ["no positive", "no negative"]),
        (["AUC"], ["no positive", "no negative"]),
        (["logloss", "gAUC"], ["no positive", "no negative"]),
        # Where no metric is for the task, these are: logloss and AUC.
        (["MSE"], ["no positive", "no negative"]),
    ],
)
@pytest.mark.parametrize("lacks", ONE_CLASS)
def test_a_split_of_one_class_is_fine_where_no_metric_needs_two(metrics, needs, lacks):
    found = stats(**ONE_CLASS[lacks])
    found["test"] = found["valid"]
    if lacks not in needs:
        check_labels(found, BOTH, metrics)
    else:
        with pytest.raises(
            DataError, match=f"{lacks} among 7,500 rows of valid, without which "
        ) as caught:
            check_labels(found, BOTH, metrics)
        assert f"{lacks} among 7,500 rows of test" in str(caught.value)
    found["train"] = found["valid"]
    with pytest.raises(DataError, match=f"{lacks} among .* train: there is nothing to learn"):
        check_labels(found, BOTH, metrics)


@pytest.mark.parametrize(("metrics", "refused"), [(["R2"], True), (["MSE", "MAE"], False)])
def test_a_constant_number_has_no_r2(metrics, refused):
    found, tasks = stats(min=2.5, max=2.5), {"watch": "regression"}
    if not refused:
        return check_labels(found, tasks, metrics)
    with pytest.raises(DataError, match="'watch' is 2.5 in all rows of valid, and R2 divides by"):
        check_labels(found, tasks, metrics)
    return None


@pytest.mark.parametrize(
    ("change", "task", "text"),
    [
        (
            {"other": 3, "example": 2.0},
            "binary_classification",
            "3 rows of valid with a value other than 0 and 1, such as 2;",
        ),
        ({"positives": 0}, "binary_classification", "has no positive among 7,500 rows of valid"),
        ({"positives": 7500}, "binary_classification", "has no negative among 7,500 rows of valid"),
        ({"nonfinite": 1}, "regression", "not finite in 1 row of valid"),
    ],
)
def test_labels_that_a_task_cannot_use(change, task, text):
    with pytest.raises(DataError) as caught:
        check_labels(stats(**change), BOTH | {"watch": task})
    assert str(caught.value).startswith("labels: label 'watch' ")
    assert text in str(caught.value)


def test_label_checks_see_the_files(tmp_path):
    frame = with_labels(ROWS).with_columns(y=pl.lit(0.0))
    cache = open_cache(small(tmp_path, change={"test": frame}))
    with pytest.raises(DataError, match="label 'y' has no positive among 4 rows of test"):
        check_labels(cache.labels, {"y": "binary_classification"})
    frame = with_labels(ROWS).with_columns(y=pl.Series([0.0, 1.0, 2.0, 1.0]))
    cache = open_cache(small(tmp_path / "2", change={"test": frame}, labels=[label()]))
    with pytest.raises(DataError, match="1 row of test with a value other than 0 and 1, such as 2"):
        check_labels(cache.labels, {"y": "binary_classification"})
