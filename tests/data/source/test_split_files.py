"""The files of a split are its rows, whole or in shares."""

import polars as pl
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.source.column_plan import plan_columns
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.runtime.group import Group
from tests.support.datasets import with_labels
from tests.support.faulty_sources import ROWS, small


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
@pytest.mark.parametrize("count", [2, 3, 9])
def test_the_shares_of_processes_are_all_rows_once_in_order(tmp_path, data_format, count):
    sizes, folder = [3, 0, 4, 1], tmp_path / "parts"
    dataset = small(tmp_path, data_format) | {"train_data": str(folder)}
    folder.mkdir()
    whole = with_labels({"cat": list("abcdefgh"), "num": [1.5] * 8, "n": list(range(8))})
    for place, size in enumerate(sizes):
        part = whole.slice(sum(sizes[:place]), size)
        getattr(part, f"write_{data_format}")(folder / f"{place}.{data_format}")
    source = open_source(plan_columns(dataset), find_files(dataset))
    source, problems = source.with_csv_read(tmp_path / "copies")
    assert not problems
    shares = [
        source.share(Group(number, count)).frame("train").collect() for number in range(count)
    ]
    assert pl.concat(shares).equals(source.frame("train").collect())
    assert pl.concat(shares)["cat"].to_list() == whole["cat"].to_list()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
