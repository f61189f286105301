from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.model_selection import train_test_split

from fuxictr_stem.config.column_words import labels_of_files
from fuxictr_stem.data.preparers.run_job import prepare
from fuxictr_stem.data.preparers.splits import split_table, write_splits
from fuxictr_stem.errors import DataError, OutputError
from tests.support.raw_files import (
    CONFIG,
    DATASETS,
    SPLITS,
    dataset_in,
    kuairand_tables,
    nothing_written,
    read_splits,
    write_kuairand,
    write_qkvideo,
    write_tiktok,
)


def written(folder, labels, *blocks):
    paths = {split: folder / f"{split}.parquet" for split in SPLITS}
    return write_splits(iter(blocks), paths, labels)


def test_an_empty_split_is_refused(tmp_path):
    tables = kuairand_tables()
    write_kuairand(tmp_path / "raw", tables)
    dataset = dataset_in(tmp_path, "kuairand_pure", valid_date=20220509, test_date=20220510)
    with pytest.raises(DataError, match=r"No row falls into valid and test \(rows: train 240"):
        prepare(dataset)
    assert nothing_written(dataset)


def test_a_label_the_raw_files_lack_is_refused(tmp_path):
    write_tiktok(tmp_path / "raw", 50)
    dataset = dataset_in(tmp_path, "tiktok")
    dataset["label_col"] = {"name": "click", "dtype": "float"}
    with pytest.raises(DataError, match="label_col: click is not among the columns"):
        prepare(dataset)


def test_the_table_compares_with_the_published_figures(tmp_path, caplog):
    frame = write_tiktok(tmp_path / "raw", 1000)
    with caplog.at_level(logging.INFO):
        prepare(dataset_in(tmp_path, "tiktok"))
    lines = {line.split()[0]: line.split() for line in caplog.text.splitlines() if line.strip()}
    rest, test = train_test_split(frame, test_size=0.1, random_state=42)
    assert lines["split"] == ["split", "rows", "published", "finish", "like"]
    assert lines["test"] == [
        "test",
        "100",
        "27,585,554",
        f"{test['finish'].mean():.4f}",
        f"{test['like'].mean():.4f}",
    ]
    assert lines["all"][1:3] == ["1,000", "275,855,531"]
    assert lines["all"][3] == f"{frame['finish'].mean():.4f}"
    assert lines["published"] == ["published", "0.2830", "0.0160"]
    assert "hold 1,000 rows, the published data set 275,855,531" in caplog.text


def test_the_table_is_aligned_and_marks_what_is_no_class(tmp_path):
    frame = pl.DataFrame({"like": [1, 0, 1, 0], "seconds": [1, 0, 7, 0]})
    counts = written(tmp_path, ["like", "seconds"], (frame, np.array([0, 0, 1, 2])))
    text = split_table(counts, ["like", "seconds"], {"rows": {"train": "1.5M"}})
    assert text.splitlines() == [
        "split      rows  published    like  seconds",
        "train         2       1.5M  0.5000  not 0/1",
        "valid         1          -  1.0000  not 0/1",
        "test          1          -  0.0000  not 0/1",
        "all           4          -  0.5000  not 0/1",
        "published                        -        -",
    ]


def test_a_full_disk_is_reported(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (tmp_path / "valid.parquet").symlink_to("/dev/full")
    frame = pl.DataFrame({"like": np.random.default_rng(0).integers(0, 2**62, 200_000)})
    with pytest.raises(OutputError, match="split files in .*No space left"):
        written(tmp_path, ["like"], (frame, np.arange(200_000) % 3))


def test_values_survive_the_round_trip(tmp_path):
    values = ["[100,1k)", 'say "x"', "a\nb", None, " lead", "1.0", "-124", "é", "'"]
    frame = pl.DataFrame({"v": values, "like": [1] * len(values)})
    written(tmp_path, ["like"], *((frame, np.full(len(values), code)) for code in range(3)))
    for split in SPLITS:
        path = tmp_path / f"{split}.parquet"
        assert pl.read_parquet(path)["v"].to_list() == values
        by_pandas = pd.read_parquet(path)["v"].tolist()
        assert [None if pd.isna(v) else v for v in by_pandas] == values


def in_fuxictr(dataset):
    """FuxiCTR's own way from the split files to ids: its config loader, reader and processor."""
    from fuxictr.preprocess import FeatureProcessor
    from fuxictr.preprocess.build_dataset import merge_meta_ddf
    from fuxictr.utils import load_dataset_config

    loaded = load_dataset_config(str(CONFIG), dataset["dataset_id"])
    assert loaded == {**DATASETS[dataset["dataset_id"]], "dataset_id": dataset["dataset_id"]}
    # Small test data: FuxiCTR refuses a vocabulary without a single frequent id.
    params = {**loaded, **dataset, "min_categr_count": 1}
    # FuxiCTR's own processor combines no labels.
    params["label_col"] = labels_of_files(params["label_col"])
    processor = FeatureProcessor(**params)
    frames = {
        split: processor.preprocess(processor.read_data(params[f"{split}_data"], **params))
        for split in SPLITS
    }
    processor.fit(frames["train"], meta_ddf=merge_meta_ddf(processor, *frames.values()), **params)
    ids = {
        split: processor.transform({c: frame.collect()[c].to_numpy() for c in processor.dtype_dict})
        for split, frame in frames.items()
    }
    return processor, ids


@pytest.mark.parametrize("dataset_id", ["tiktok", "qkvideo", "kuairand1k", "kuairand_pure"])
def test_fuxictr_reads_the_splits_with_the_shipped_config(tmp_path, dataset_id):
    if dataset_id == "tiktok":
        write_tiktok(tmp_path / "raw", 300)
    elif dataset_id == "qkvideo":
        write_qkvideo(tmp_path / "raw", np.arange(300) % 9)
    else:
        write_kuairand(tmp_path / "raw", kuairand_tables(), suffix=dataset_id[8:].strip("_"))
    dataset = dataset_in(tmp_path, dataset_id)
    prepare(dataset)
    processor, ids = in_fuxictr(dataset)
    group, user = dataset["group_id"], dataset["feature_cols"][0]["name"][0]
    vocabulary = processor.processor_dict[f"{group}::tokenizer"].vocab
    for split, frame in read_splits(dataset).items():
        assert ids[split][group].tolist() == [vocabulary[value] for value in frame[user]]
        assert vocabulary["__OOV__"] not in ids[split][group]
        for label in labels_of_files(dataset["label_col"]):
            assert ids[split][label["name"]].tolist() == [float(v) for v in frame[label["name"]]]
    if dataset_id.startswith("kuairand"):
        assert {"20", "43", "7"} <= set(processor.processor_dict["tag::tokenizer"].vocab)
        assert "[100,1k)" in processor.processor_dict["fans_user_num_range::tokenizer"].vocab
