"""The special characters and the bytes of CSV files."""

import gzip
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.source.dialect import where_not_utf8
from tests.support.csv_text import CLICK, SPARK, TITLES, dataset_of, read
from tests.support.datasets import SPLITS
from tests.support.faulty_sources import message, rewrite, small


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


def test_not_utf8(tmp_path):
    dataset = small(tmp_path)
    rewrite(dataset["valid_data"], b"a,-3.0", b"\xe9,-3.0")
    found = message(dataset)
    assert "valid.csv (valid): line 4 is not UTF-8" in found


def test_header_not_utf8(tmp_path):
    dataset = small(tmp_path)
    rewrite(dataset["train_data"], b"cat", b"\xffc")
    assert "train.csv (train): line 1 is not UTF-8" in message(dataset)


def test_a_gzipped_file_whose_name_does_not_say_so(tmp_path):
    dataset = small(tmp_path)
    path = Path(dataset["valid_data"])
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert "it is gzipped, but its name does not say so" in message(dataset)


def test_a_tab_separates(tmp_path):
    assert open_cache(small(tmp_path, sep="\t")).rows["train"] == 4


@pytest.mark.parametrize(
    ("keys", "titles"),
    [
        ({"csv_escape": "\\"}, ['5" pad', "b", '7" tv', "d"]),
        ({"csv_quote": None}, ['"5\\" pad"', "b", '"7\\" tv"', "d"]),
        ({"csv_quote": "'"}, ['"5\\" pad"', "b", '"7\\" tv"', "d"]),
    ],
)
def test_the_options_read_them(tmp_path, keys, titles):
    dataset = dataset_of(tmp_path, SPARK, TITLES, CLICK) | keys
    frame = read(dataset, tmp_path)
    assert frame["title"].to_list() == titles
    assert frame["click"].to_list() == [1, 0, 1, 0]
    cache = open_cache(dataset)
    assert cache.rows == dict.fromkeys(SPLITS, 4)
    assert cache.labels["train"]["click"]["positives"] == 2
    left = [path.name for path in cache.folder.iterdir()]
    assert "text" not in left, "a copy goes when the cache is built"


def test_every_key_of_the_reading_makes_another_cache(tmp_path):
    dataset = dataset_of(tmp_path, "a,y,c\nx,1,2\nz,0,1\n")
    keys = [
        {},
        {"csv_quote": None},
        {"csv_quote": "'"},
        {"csv_escape": "\\"},
        {"null_values": ["2"]},
    ]
    assert len({open_cache(dataset | more).folder for more in keys}) == len(keys)
    assert open_cache(dataset | {"csv_quote": '"'}).folder == open_cache(dataset).folder
