"""A new project is checked as a run would, and problems are at the place where it will be."""

import polars as pl
import pytest

from fuxictr_stem.errors import DataError
from fuxictr_stem.starter.check_project import check_project


@pytest.fixture
def fresh(shop):
    """A project whose folder has not its final name yet."""
    assert shop(time="ts") == 0
    (shop.folder / "config" / "shop").rename(shop.folder / "fresh")
    return shop.folder / "fresh"


def test_what_is_right_passes_and_no_copy_is_left(fresh, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    check_project(fresh, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def no_positive(fresh):
    rows = pl.read_csv(fresh / "data" / "valid.csv", infer_schema=False)
    rows.with_columns(click=pl.lit("0"), buy=pl.lit("0")).write_csv(fresh / "data" / "valid.csv")


def no_number(fresh):
    path = fresh / "data" / "train.csv"
    rows = pl.read_csv(path, infer_schema=False)
    rows.with_columns(click=pl.lit("perhaps")).write_csv(path)


def no_rows(fresh):
    (fresh / "data" / "test.csv").unlink()


def no_key(fresh):
    path = fresh / "dataset_config.yaml"
    path.write_text(path.read_text().replace("feature_cols:", "feature_col:"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_positive, "label 'click' has no positive among .* rows of valid"),
        (no_number, r"label 'click' is not a number .* in .*out.data.train.csv, row 1"),
        (no_rows, r"test_data: '.*out.data.test.csv' does not exist"),
        (no_key, r"out.dataset_config.yaml.*feature_col: is not a known key"),
    ],
)
def test_what_a_run_would_reject_is_named_at_its_final_place(fresh, tmp_path, spoil, message):
    spoil(fresh)
    with pytest.raises(DataError, match=message) as caught:
        check_project(fresh, tmp_path / "out")
    assert str(fresh) not in str(caught.value)
    assert not (tmp_path / "out").exists()
