"""Lists of a parquet file give the ids of the same tokens in a CSV file: none vanishes, none is split."""

import polars as pl
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.errors import DataError
from tests.support.datasets import SPLITS, cached, feature, with_labels, write_dataset

# By hand: b occurs most often, then a, c and d by name.
LISTS = [["a", None, "b"], ["b", "", "c"], [None, "b"], [], None, ["d"]]
TEXTS = ["a^^b", "b^^c", "^b", "", None, "d"]
IDS = [[2, 0, 1], [1, 0, 3], [0, 1, 0], [0, 0, 0], [0, 0, 0], [4, 0, 0]]


def ids(folder, values, dtype=None, **more):
    frame = with_labels({"seq": pl.Series(values, dtype=dtype)})
    data_format = "parquet" if frame["seq"].dtype.is_nested() else "csv"
    dataset = write_dataset(
        folder,
        dict.fromkeys(SPLITS, frame),
        [feature("seq", "sequence", **more)],
        data_format=data_format,
    )
    found = cached(open_cache(dataset))
    assert all((found[split]["seq"] == found["train"]["seq"]).all() for split in SPLITS)
    return found["train"]["seq"].tolist()


def test_an_element_that_is_null_keeps_its_place(tmp_path):
    assert ids(tmp_path / "csv", TEXTS) == IDS
    assert ids(tmp_path / "parquet", LISTS) == IDS


@pytest.mark.parametrize(
    ("more", "first"),
    [
        ({"max_len": 2}, [2, 0]),
        ({"max_len": 2, "padding": "pre"}, [0, 1]),
        ({"fill_na": "b"}, None),
        ({"fill_na": "x"}, None),
    ],
)
def test_both_formats_are_alike(tmp_path, more, first):
    found = ids(tmp_path / "parquet", LISTS, **more)
    assert found == ids(tmp_path / "csv", TEXTS, **more)
    assert first is None or found[0] == first


def test_numbers_in_lists(tmp_path):
    lists = [[3, None, 1], [1], [], [1, 3], [2], None]
    wanted = [[2, 0, 1], [1, 0, 0], [0, 0, 0], [1, 2, 0], [3, 0, 0], [0, 0, 0]]
    assert ids(tmp_path / "list", lists, pl.List(pl.Int32)) == wanted
    pairs = [[3, None], [1, 1], [1, 3], [2, 2]]
    wanted = [[3, 0], [1, 1], [1, 3], [2, 2]]
    assert ids(tmp_path / "array", pairs, pl.Array(pl.Int64, 2)) == wanted


def test_an_element_with_the_splitter_is_one_token(tmp_path):
    lists = [["a^b", "c"], ["c"], ["a", "b"], ["c", "a^b", "a"]]
    # c occurs three times, "a" and "a^b" twice, b once; "a" sorts before "a^b".
    assert ids(tmp_path, lists) == [[3, 1, 0], [1, 0, 0], [2, 4, 0], [1, 3, 2]]


def test_a_shared_table_holds_the_element_as_a_whole(tmp_path):
    frame = with_labels({"item": ["a^b", "a", "b", "a^b"], "seen": [["a^b"], ["a", "b"], [], []]})
    features = [feature("item"), feature("seen", "sequence", share_embedding="item")]
    dataset = write_dataset(tmp_path, dict.fromkeys(SPLITS, frame), features, data_format="parquet")
    found = cached(open_cache(dataset))["test"]
    assert found["item"].tolist() == [1, 2, 3, 1]
    assert found["seen"].tolist() == [[1, 0], [2, 3], [0, 0], [0, 0]]


def test_a_part_whose_lists_are_all_empty(tmp_path):
    # pyarrow and pandas write these as lists of null.
    lists = {
        "train": pl.Series(LISTS, dtype=pl.List(pl.String)),
        "valid": pl.Series([[], [], [None], None], dtype=pl.List(pl.Null)),
    }
    frames = {split: with_labels({"seq": values}) for split, values in lists.items()}
    dataset = write_dataset(tmp_path, frames, [feature("seq", "sequence")], data_format="parquet")
    found = cached(open_cache(dataset))
    assert found["train"]["seq"].tolist() == IDS
    assert found["valid"]["seq"].tolist() == [[0, 0, 0]] * 4


def test_lists_in_lists_are_rejected(tmp_path):
    frame = with_labels({"seq": [[["a"], ["b"]], [["c"]]]})
    dataset = write_dataset(
        tmp_path, dict.fromkeys(SPLITS, frame), [feature("seq", "sequence")], data_format="parquet"
    )
    with pytest.raises(DataError, match="a sequence holds lists of text or numbers, found List"):
        open_cache(dataset)
