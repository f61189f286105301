"""A file of scores that is written block by block is the whole, and is written where a file can be only."""

import polars as pl
import pytest

from fuxictr_stem.errors import ConfigError, DataError, OutputError
from fuxictr_stem.serving.score_files import check_place, score_blocks

FRAME = pl.DataFrame(
    {
        "id": ["a", 'with "quotes", and a comma', None, "é", ""],
        "like_pred": pl.Series([0.1, 1e-30, 0.25, 1.0, 0.0], dtype=pl.Float32),
    }
)


@pytest.mark.parametrize("sizes", [[5], [2, 0, 3], [1] * 5])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_blocks_are_the_whole(tmp_path, ending, sizes):
    path, at = tmp_path / f"scores{ending}", 0
    with score_blocks(path) as append:
        for size in sizes:
            append(FRAME[at : at + size])
            at += size
    written = pl.read_parquet(path) if ending == ".parquet" else pl.read_csv(path)
    assert written.cast(FRAME.schema).equals(FRAME)


@pytest.mark.parametrize("value", [[1, 2], b"x", {"a": 1}])
def test_a_csv_file_holds_no_nested_values(tmp_path, value):
    frame = pl.DataFrame({"fine": [1], "wide": [value]})
    with (
        pytest.raises(DataError, match=r"a csv file cannot hold wide \(.*\)\. Write parquet"),
        score_blocks(tmp_path / "scores.csv") as append,
    ):
        append(frame)
    with score_blocks(tmp_path / "scores.parquet") as append:
        append(frame)
    assert pl.read_parquet(tmp_path / "scores.parquet").equals(frame)


def test_a_place_where_no_scores_can_be_is_named(tmp_path):
    file, folder, link = (tmp_path / name for name in ("new.csv", "folder.csv", "link.csv"))
    file.write_text("id")
    folder.mkdir()
    link.symlink_to(file)
    for path, error, said in (
        (tmp_path / "out.txt", ConfigError, "must end with .parquet or .csv"),
        (file, ConfigError, "one of the input files"),
        (link, ConfigError, "one of the input files"),
        (folder, OutputError, "is a folder"),
        (tmp_path / "nowhere" / "out.csv", OutputError, "there is no folder"),
    ):
        with pytest.raises(error, match=said):
            check_place(path, [file])
    check_place(tmp_path / "out.csv", [file])
    check_place(tmp_path / "out.json", endings=[".json"])
