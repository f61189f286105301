"""The cache holds what FuxiCTR's own processor says, row by row."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.encoding import encode
from fuxictr_stem.data.encoding.column_encoders import Encoder
from fuxictr_stem.data.encoding.encode import read_blocks
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.data.encoding.vocabulary import integer_type
from tests.support.datasets import (
    COLUMNS,
    SPLITS,
    assert_same,
    built,
    cached,
    feature,
    frames,
    fuxictr_says,
    label,
    with_labels,
    write_dataset,
)
from tests.support.encoding_cases import CASES


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
@pytest.mark.parametrize("case", CASES)
def test_cache_is_fuxictrs_transform(tmp_path, case, data_format):
    dataset = write_dataset(tmp_path, frames(*COLUMNS), CASES[case], data_format=data_format)
    said, processor = fuxictr_says(dataset, tmp_path / "oracle")
    cache = open_cache(dataset)
    assert_same(cached(cache), said)
    ours, theirs = cache.folder, Path(processor.data_dir)
    for name in ("feature_map.json", "feature_vocab.json"):
        assert json.loads((ours / name).read_text()) == json.loads((theirs / name).read_text())


def test_wide_rows_make_small_blocks(monkeypatch):
    """A sequence of half a million tokens in one row is the width of every row."""
    column = Encoder("a", np.dtype(np.int32), "a", pl.Expr.abs, pl.Series.to_numpy, width=500)
    frame = pl.LazyFrame({"a": range(100)})
    monkeypatch.setattr(encode, "_BLOCK_BYTES", 9 * 2000)
    blocks = [block["a"] for block, _ in encode.encoded(None, frame, [column])]
    assert max(len(block) for block in blocks) <= 8
    assert np.concatenate(blocks).tolist() == list(range(100))


def test_real_impressions(tmp_path, stem_data):
    folder = stem_data / "kuairand_pure"
    skipped = {"date", "hourmin", "time_ms", "is_like", "long_view", "watch_ratio", "tag"}
    shown = pl.read_parquet(folder / "valid.parquet", n_rows=20_000)
    later = pl.read_parquet(folder / "test.parquet", n_rows=5_000)
    names = [name for name in shown.columns if name not in skipped]
    features = [
        *(feature(name) for name in names),
        feature("tag", "sequence", splitter=","),
        feature("watch_ratio", "numeric", "float"),
        feature("group", "meta", preprocess="copy_from(user_id)"),
    ]
    written = {"train": shown[:15_000], "valid": shown[15_000:], "test": later}
    labels = [label("long_view"), label("is_like")]
    dataset = write_dataset(tmp_path, written, features, labels, min_categr_count=10)
    said, _ = fuxictr_says(dataset, tmp_path / "oracle")
    assert_same(built(dataset, tmp_path / "blocks", 1 << 12), said)


TOKENS = st.sampled_from(
    [
        "a",
        "b",
        "c",
        "A",
        "",
        " ",
        "^",
        "^^",
        "a^b",
        "é",
        "日本",
        "1",
        "01",
        "1.0",
    ]
)
TEXT = st.none() | TOKENS | st.text("ab^ ,\"'\n", max_size=4)
NUMBER = st.none() | st.floats(-1e6, 1e6, width=32)
INTEGER = st.none() | st.integers(-5, 5) | st.integers(-(2**62), 2**62)
ROW = st.tuples(TEXT, TEXT, INTEGER, NUMBER, TEXT)


@pytest.mark.slow
@given(
    splits=st.tuples(*[st.lists(ROW, min_size=1, max_size=8)] * 3),
    padding=st.sampled_from(["pre", "post"]),
    max_len=st.integers(0, 4),
    least=st.integers(1, 2),
    share=st.booleans(),
    fill=st.sampled_from([None, "a", "^"]),
    scaler=st.sampled_from([None, "StandardScaler", "MinMaxScaler"]),
    data_format=st.sampled_from(["csv", "parquet"]),
    block_rows=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_small_frame(
    tmp_path_factory,
    splits,
    padding,
    max_len,
    least,
    share,
    fill,
    scaler,
    data_format,
    block_rows,
):
    tmp_path = tmp_path_factory.mktemp("any")
    names = ["cat", "seq", "num_id", "num", "group"]
    types = [pl.String, pl.String, pl.Int64, pl.Float64, pl.String]
    # Two rows of train keep every vocabulary from being empty.
    sure = ("b", "b", 4, 1.0, "b")
    written = {}
    for split, rows in zip(SPLITS, splits, strict=True):
        rows = [*rows, sure, sure] if split == "train" else rows
        frame = pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")
        written[split] = frame.with_columns(y=pl.Series(np.arange(frame.height) % 2 * 1.0))
    features = [
        feature("cat", **({} if fill is None else {"fill_na": fill})),
        feature("seq", "sequence", padding=padding, max_len=max_len),
        feature("num_id", dtype="int"),
        feature("num", "numeric", "float"),
        feature("group", "meta"),
    ]
    if share:
        features[1]["share_embedding"] = "cat"
    if scaler:
        features[3]["normalizer"] = scaler
    dataset = write_dataset(
        tmp_path, written, features, data_format=data_format, min_categr_count=least
    )
    said, _ = fuxictr_says(dataset, tmp_path / "oracle")
    assert_same(built(dataset, tmp_path / "blocks", block_rows), said)
    encoder = RowEncoder.load(tmp_path / "blocks")
    for split, frame in written.items():
        if data_format == "csv":
            # As the file is read: carriage returns and quotes may not survive being written.
            frame = pl.read_csv(dataset[f"{split}_data"], schema=frame.schema)
        arrays = encoder.encode(frame.with_columns(more=1))
        rows = [encoder.encode_row(row) for row in frame.iter_rows(named=True)]
        labels = {"y": said[split]["y"]}
        assert_same({split: {**arrays, **labels}}, {split: said[split]})
        single = {name: np.concatenate([row[name] for row in rows]) for name in arrays}
        assert_same({split: {**single, **labels}}, {split: said[split]})
        path = Path(dataset[f"{split}_data"])
        blocks = list(read_blocks(encoder, [path], encoder.names, ["y"], block_rows=block_rows))
        streamed = {n: np.concatenate([b.arrays[n] for b in blocks]) for n in encoder.names}
        streamed["y"] = np.concatenate([block.labels["y"] for block in blocks])
        assert_same({split: streamed}, {split: said[split]})


def test_a_missing_label_is_filled_only_on_request(tmp_path):
    written = {s: pl.DataFrame({"cat": ["a", "b", "a"], "y": [0.0, None, 1.0]}) for s in SPLITS}
    dataset = write_dataset(tmp_path, written, [feature("cat")], [label(fill_na=1)])
    assert cached(open_cache(dataset))["test"]["y"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        *((0, 0, np.uint8), (0, 255, np.uint8), (0, 256, np.uint16), (0, 65535, np.uint16)),
        *((0, 65536, np.int32), (-1, 1, np.int32), (0, 2**31 - 1, np.int32)),
        *((0, 2**31, np.int64), (-(2**31) - 1, 0, np.int64)),
    ],
)
def test_ids_take_the_smallest_type(low, high, dtype):
    assert integer_type(low, high) == dtype


@pytest.mark.parametrize("size", [253, 254, 65533, 65534])
def test_ids_at_the_edge_of_a_type(tmp_path, size):
    # With padding and the unknown token, the largest id is size + 1.
    tokens = np.arange(size).astype(str)
    unseen = pl.DataFrame({"cat": ["x", "0", "1"], "y": [0.0, 1.0, 1.0]})
    train = with_labels({"cat": tokens})
    dataset = write_dataset(tmp_path, {"train": train, "valid": unseen}, [feature("cat")])
    found = cached(open_cache(dataset))
    assert sorted(found["train"]["cat"].tolist()) == list(range(1, size + 1))
    assert found["valid"]["cat"][0] == size + 1
    assert found["valid"]["cat"].dtype == integer_type(0, size + 1)
