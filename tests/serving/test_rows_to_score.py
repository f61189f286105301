"""Rows to score: frames and files as blocks of encoded columns, or all that is wrong with them."""

import shutil

import pandas as pd
import polars as pl
import pytest

import fuxictr_stem
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.serving import rows_to_score
from tests.support.served import assert_same, predict, without_labels


@pytest.mark.parametrize("block_rows", [1, 50, 64, 100, 1000])
def test_batches_do_not_depend_on_where_files_and_blocks_end(
    finished, tmp_path, monkeypatch, block_rows
):
    monkeypatch.setattr(rows_to_score, "BLOCK_ROWS", block_rows)
    rows, at = without_labels(finished), 0
    for place, count in enumerate([7, 64, 1, 100, 28]):
        rows[at : at + count].write_parquet(tmp_path / f"part{place}.parquet")
        at += count
    (tmp_path / "folder").mkdir()
    for path in sorted(tmp_path.glob("part*.parquet")):
        shutil.copy(path, tmp_path / "folder" / path.name)
    for data in (sorted(tmp_path.glob("part*.parquet")), ["part*.parquet"], ["folder"]):
        assert predict(finished, "--data", *data) == 0
        assert_same(pl.read_parquet("out.parquet"), finished)
    run = fuxictr_stem.load(finished.folder)
    assert_same(run.predict(rows), finished)
    assert_same(run.predict("folder"), finished)


def test_order_of_columns_and_more_columns_do_not_matter(finished):
    run = fuxictr_stem.load(finished.folder)
    rows = without_labels(finished).with_columns(more=pl.lit(None), other=pl.lit([1]))
    assert_same(run.predict(rows.select(sorted(rows.columns, reverse=True))), finished)


def test_blank_lines_of_a_csv_file_are_no_rows(finished, tmp_path):
    lines = without_labels(finished).write_csv().splitlines()
    (tmp_path / "new.csv").write_text("\n".join([*lines[:5], "", *lines[5:], "", ""]))
    assert predict(finished, "--data", "new.csv") == 0
    assert_same(pl.read_parquet("out.parquet"), finished)


def test_bad_frames_are_data_errors(finished):
    run = fuxictr_stem.load(finished.folder)
    rows = without_labels(finished)
    with pytest.raises(DataError, match=r"'user'.*\n.*'item'|'item'.*\n.*'user'"):
        run.predict(rows.drop("user", "item"))
    with pytest.raises(DataError, match="no rows"):
        run.predict(rows.clear())
    with pytest.raises(DataError, match="no rows"):
        run.predict(rows.to_pandas().iloc[:0])
    with pytest.raises(DataError, match=r"'contry'.*Did you mean 'country'"):
        run.predict(rows, keep=["contry"])
    with pytest.raises(ConfigError, match="column of scores"):
        run.predict(rows.with_columns(like_pred=1), keep=["like_pred"])
    with pytest.raises(
        DataError, match="must be a pandas or polars frame, or a path, found 'dict'"
    ):
        run.predict({"user": [1]})
    mixed = rows.to_pandas()
    mixed["item"] = [1, "a"] * 100
    with pytest.raises(DataError, match=r"'item' \(object\) mixes kinds"):
        run.predict(mixed)
    doubled = pd.concat([rows.to_pandas(), rows.to_pandas()[["item"]]], axis=1)
    with pytest.raises(DataError, match="2 columns 'item'"):
        run.predict(doubled)
