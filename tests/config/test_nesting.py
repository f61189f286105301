"""Labels that combine two others, and labels nested in another: config, check, cache."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_stem import fuxictr_entry as drop_in
from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.errors import ConfigError, DataError
from tests.support.datasets import SPLITS, built, feature, label, write_dataset
from tests.support.project import Project

LABELS = [
    label("click"),
    label("buy"),
    label("both", preprocess="both(click, buy)", parent="click"),
]


def rows(click, buy):
    return pl.DataFrame(
        {"cat": ["a"] * len(click), "click": click, "buy": buy},
        schema={"cat": pl.String, "click": pl.Float64, "buy": pl.Float64},
    )


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_the_cache_holds_1_where_both_are(tmp_path, data_format):
    frames = {
        "train": rows([0, 0, 1, 1, 1], [0, 1, 0, 1, 1]),
        "valid": rows([1, 0], [1, 1]),
        "test": rows([0, 1], [0, 0]),
    }
    dataset = write_dataset(tmp_path, frames, [feature("cat")], LABELS, data_format)
    cache = open_cache(dataset)
    assert cache.labels["train"]["both"]["positives"] == 2
    for split, columns in built(dataset, tmp_path / "again", block_rows=2).items():
        expected = (frames[split]["click"] * frames[split]["buy"]).to_numpy()
        np.testing.assert_array_equal(columns["both"], expected)
        assert columns["both"].dtype == np.uint8


def test_a_label_that_is_missing_where_the_other_is_0_is_known(tmp_path):
    frames = {split: rows([0, 1, 1, 1], [-1, 0, 1, -1]) for split in SPLITS}
    wanted = [label("click"), label("buy", missing=-1), LABELS[2]]
    dataset = write_dataset(tmp_path, frames, [feature("cat")], wanted)
    found = built(dataset, tmp_path / "again", block_rows=10)["train"]["both"]
    np.testing.assert_array_equal(found, np.array([0, 0, 1, np.nan], np.float32))


def test_combined_labels_may_come_of_copies(tmp_path):
    frames = {split: rows([0, 1, 1], [1, 0, 1]) for split in SPLITS}
    wanted = [label("c", preprocess="copy_from(click)"), label("buy")]
    wanted.append(label("both", preprocess="both(c, buy)"))
    dataset = write_dataset(tmp_path, frames, [feature("cat")], wanted)
    found = built(dataset, tmp_path / "again", block_rows=10)["train"]["both"]
    assert found.tolist() == [0, 0, 1]


def test_a_missing_column_is_named_once(tmp_path):
    frames = {split: rows([0, 1], [0, 1]).drop("buy") for split in SPLITS}
    dataset = write_dataset(tmp_path, frames, [feature("cat")], LABELS)
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    assert str(caught.value).count("there is no column 'buy' (label 'buy')") == 3
    assert str(caught.value).count("there is no column") == 3


def test_faulty_values_are_those_of_the_labels_that_are_combined(tmp_path):
    frames = {split: rows([0, 1, None], [0, 1, 1]) for split in SPLITS}
    dataset = write_dataset(tmp_path, frames, [feature("cat")], LABELS)
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    assert str(caught.value).count("label 'click' is missing in 1 row of") == 3
    assert "'both'" not in str(caught.value)


NESTED = [label("click"), label("buy", parent="click")]
pairs = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0, 2.5])), min_size=1
)


@settings(deadline=None, max_examples=25)
@given(train=pairs, data_format=st.sampled_from(["csv", "parquet"]))
def test_rows_that_are_not_nested_are_counted_and_the_first_is_named(
    tmp_path_factory, train, data_format
):
    folder = tmp_path_factory.mktemp("nested")
    frames = dict.fromkeys(SPLITS, rows([1.0, 0.0], [1.0, 0.0])) | {
        "train": rows(*map(list, zip(*train, strict=True)))
    }
    dataset = write_dataset(folder, frames, [feature("cat")], NESTED, data_format)
    wrong = [i for i, (click, buy) in enumerate(train) if buy and not click]
    if not wrong:
        open_cache(dataset)
        return
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    count = "1 row" if len(wrong) == 1 else f"{len(wrong)} rows"
    assert f"label 'buy' is not 0 where its parent 'click' is 0 in {count} of train" in str(
        caught.value
    )
    assert f"row {wrong[0] + 1}, value {train[wrong[0]][1]}" in str(caught.value)
    assert 'preprocess: "both(click, <label>)"' in str(caught.value)


def test_rows_without_parent_or_label_break_nothing(tmp_path):
    frames = {split: rows([-1, 0, 1, 1], [1, -1, -1, 1]) for split in SPLITS}
    wanted = [label("click", missing=-1), label("buy", missing=-1, parent="click")]
    open_cache(write_dataset(tmp_path, frames, [feature("cat")], wanted))


def test_the_command_line_refuses_labels_that_are_not_nested(
    tmp_path, monkeypatch, capsys, root_logging
):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    project.dataset["label_col"][0]["parent"] = "view"
    frame = project.frames["train"]
    wrong = frame.with_row_index("row", 1).filter((pl.col("like") == 1) & (pl.col("view") == 0))
    assert project.run() == 2
    told = capsys.readouterr().err
    assert f"label 'like' is not 0 where its parent 'view' is 0 in {wrong.height} rows" in told
    assert f"row {wrong['row'][0]}, value 1" in told
    assert "Traceback" not in told


def test_fuxictrs_preprocessing_reads_the_other_labels(tmp_path, monkeypatch):
    """It knows no `both`: such a label is left out, and refused where it is trained."""
    import fuxictr.preprocess

    made = []

    def build(processor, **params):
        made.append(processor)
        raise InterruptedError

    monkeypatch.setattr(fuxictr.preprocess, "build_dataset", build)
    frames = {split: rows([0, 1], [0, 1]) for split in SPLITS}
    params = write_dataset(tmp_path, frames, [feature("cat")], LABELS)
    params |= {"task": ["binary_classification"] * 2, "metrics": ["AUC"], "file_locks": True}
    with pytest.raises(DataError, match="preprocessing stopped: InterruptedError"):
        drop_in._build_with_fuxictr({**params, "task_labels": ["click", "buy"]})
    assert made[0].feature_map.labels == ["click", "buy"]
    with pytest.raises(ConfigError, match="cannot combine labels to 'both'. Use --engine"):
        drop_in._build_with_fuxictr({**params, "task_labels": ["click", "both"]})
