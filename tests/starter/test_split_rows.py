"""Every row is in one split, and no later row is in an earlier one."""

from collections import Counter

import polars as pl
import pytest

from tests.support.logs_of_a_shop import ROWS


@pytest.mark.parametrize("time", [{}, {"time": "ts"}], ids=["by chance", "by time"])
@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_every_row_is_in_one_split(shop, data_format, time):
    assert shop(f"logs.{data_format}", **time) == 0
    folder = shop.folder / "config" / "shop" / "data"
    read = pl.read_parquet if data_format == "parquet" else pl.read_csv
    kinds = {} if data_format == "parquet" else {"infer_schema": False}
    splits = [read(folder / f"{s}.{data_format}", **kinds) for s in ("train", "valid", "test")]
    whole = read(f"logs.{data_format}", **kinds)
    rows = Counter(row for split in splits for row in split.rows())
    assert rows == Counter(whole.rows())
    shares = [len(split) / ROWS for split in splits]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.05)
    if time:
        moments = [split["ts"].cast(pl.Int64) for split in splits]
        assert moments[0].max() < moments[1].min()
        assert moments[1].max() < moments[2].min()


@pytest.mark.parametrize(
    "times",
    [
        ("2025-12-31", "2026-01-01 10:00", "2026-01-01 11:00"),
        ("2026-01-01T10:00:00Z", "2026-01-01 11:00:00Z", "2026-01-01T11:00:00.5Z"),
        ("-1", "9", "10"),
        ("9.5", "10", "1e2"),
    ],
    ids=["dates", "with T or a space", "numbers of several lengths", "fractions"],
)
def test_times_are_compared_as_times(shop, times):
    # Eight tenths at one moment, and one each at two later ones; the latest comes first in the file.
    moments = [times[2]] * 20 + [times[1]] * 20 + [times[0]] * 160
    rows = pl.DataFrame({"t": moments, "x": ["a", "b"] * 100, "y": [0, 1, 1, 0] * 50})
    rows.write_csv("times.csv")
    assert shop("times.csv", labels="y", time="t") == 0
    folder = shop.folder / "config" / "shop" / "data"
    for split, time in zip(("train", "valid", "test"), times, strict=True):
        assert pl.read_csv(folder / f"{split}.csv", infer_schema=False)["t"].unique().to_list() == [
            time
        ]
