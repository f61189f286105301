"""The encoder that a cache leaves gives raw rows, in frames and in files, the ids of FuxiCTR."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.encoding.encode import read_blocks
from fuxictr_stem.data.encoding.encoder_files import write_encoder
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.errors import ConfigError
from tests.support.datasets import COLUMNS, SPLITS, assert_same, frames, fuxictr_says, write_dataset
from tests.support.encoding_cases import CASES


def said_of(dataset, folder):
    """Return FuxiCTR's transform of each split without the label."""
    said, _ = fuxictr_says(dataset, folder)
    return {split: {k: v for k, v in of.items() if k != "y"} for split, of in said.items()}


def joined(blocks):
    """Return the arrays of blocks as one."""
    blocks = list(blocks)
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


@pytest.mark.parametrize("case", CASES)
def test_rows_get_the_ids_of_fuxictrs_transform(tmp_path, case):
    written = frames(*COLUMNS)
    dataset = write_dataset(tmp_path, written, CASES[case])
    said = said_of(dataset, tmp_path / "oracle")
    encoder = RowEncoder.load(open_cache(dataset).folder)
    assert_same({split: encoder.encode(frame) for split, frame in written.items()}, said)
    for name, array in encoder.encode(written["test"]).items():
        assert array.dtype == encoder.dtype(name)
        assert array.shape[1:] == ((encoder.width(name),) if encoder.width(name) else ())

    one_by_one = {
        split: joined(encoder.encode(frame[i]) for i in range(frame.height))
        for split, frame in written.items()
    }
    assert_same(one_by_one, said)
    for data_format in ("csv", "parquet"):
        folder = tmp_path / data_format
        write_dataset(folder, written, [], data_format=data_format)
        files = {split: [folder / f"{split}.{data_format}"] for split in SPLITS}
        blocks = {s: read_blocks(encoder, files[s], encoder.names, block_rows=2) for s in SPLITS}
        assert_same({s: joined(b.arrays for b in blocks[s]) for s in SPLITS}, said)


def test_a_saved_encoder_is_the_same(tmp_path):
    written = frames(*COLUMNS)
    encoder = RowEncoder.load(open_cache(write_dataset(tmp_path, written, CASES["all"])).folder)
    again = tmp_path / "again"
    again.mkdir()
    write_encoder(again, encoder.fitted)
    for path in Path(again).iterdir():
        assert path.read_bytes()
    other = RowEncoder.load(again)
    for frame in written.values():
        assert_same({"x": other.encode(frame)}, {"x": encoder.encode(frame)})


def test_labels_and_kept_columns_come_with_the_rows(tmp_path):
    written = frames(*COLUMNS)
    dataset = write_dataset(tmp_path, written, CASES["all"])
    encoder = RowEncoder.load(open_cache(dataset).folder)
    file = Path(dataset["train_data"])
    blocks = list(
        read_blocks(encoder, [file], ["cat"], ["y"], ["num_id", "y", "group"], block_rows=4)
    )
    assert [len(block.labels["y"]) for block in blocks] == [4, 2]
    kept = pl.concat([block.kept for block in blocks])
    assert kept.equals(written["train"].select("num_id", "y", "group"))
    labels = joined(block.labels for block in blocks)
    assert labels["y"].dtype == np.float32
    assert labels["y"].tolist() == written["train"]["y"].to_list()


def test_keys_and_unknown(encoder):
    tokens, ids = encoder.keys("item")
    found = dict(zip(tokens.to_list(), ids.tolist(), strict=True))
    frame = pl.DataFrame({"item": tokens, "seq": tokens})
    assert encoder.encode(frame, ["item"])["item"].tolist() == list(found.values())
    assert {"a", "b", "c", "d", "é"} <= set(found)
    assert encoder.unknown("item") == encoder.unknown("seq") not in found.values()
    assert encoder.unknown("num") is None
    with pytest.raises(ConfigError, match="The numeric column 'num' has no vocabulary"):
        encoder.keys("num")
