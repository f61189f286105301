"""What is wrong with source files is said before anything is built: file, column, row, value."""

from pathlib import Path

import polars as pl
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.checks.check_labels import check_labels
from fuxictr_stem.errors import DataError
from tests.support.datasets import SPLITS, feature, label, with_labels, write_dataset
from tests.support.faulty_sources import ROWS, message, rewrite, small


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


def test_byte_order_mark_and_line_ends(tmp_path):
    dataset = small(tmp_path)
    path = Path(dataset["train_data"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert open_cache(dataset).labels["train"]["y"]["positives"] == 2


def test_the_part_with_the_bad_row_is_named(tmp_path):
    dataset = small(tmp_path)
    folder = tmp_path / "parts"
    folder.mkdir()
    for name in "abc":
        with_labels(ROWS).write_csv(folder / f"{name}.csv")
    rewrite(folder / "b.csv", b"4.0,4", b"4.0,four")
    dataset["train_data"] = str(folder)
    assert "parts/b.csv, row 4, value 'four'" in message(dataset)


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


def test_a_parquet_file_cut_off(tmp_path):
    # The footer is whole, the data before it is not.
    dataset = small(tmp_path, "parquet")
    path = Path(dataset["train_data"])
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(200) + data[204:])
    assert "train.parquet" in message(dataset)


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
