from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.model_selection import train_test_split

from fuxictr_stem.config.nesting import labels_of_files
from fuxictr_stem.data.preparers import PREPARERS, RawFilesMissing, prepare, qkvideo, raw
from fuxictr_stem.data.preparers.splits import SplitWriter, summary
from fuxictr_stem.errors import ConfigError, DataError, OutputError
from fuxictr_stem.runtime import progress
from tests.support.raw_files import (
    CONFIG,
    DATASETS,
    SPLITS,
    dataset_in,
    kuairand_tables,
    read_splits,
    write_kuairand,
    write_qkvideo,
    write_tiktok,
)


def nothing_written(dataset) -> bool:
    folder = Path(dataset["train_data"]).parent
    return not folder.exists() or {p.name for p in folder.iterdir()} <= {".prepare.lock"}


GOOD = b"1\t2\t3\t4\t5\t0\t1\t0\t8\t9\t10\t11\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (GOOD * 60 + b"1\t2\t3\n" + GOOD * 9, "Row #61: Expected 12 columns, got 3"),
        (GOOD * 60 + GOOD[:7], "Row #61: Expected 12 columns"),
        (GOOD * 60 + GOOD[:-3] + b"\n", "row 61: video_duration is empty"),
        (GOOD * 60 + b"\n" + GOOD, "row 61: uid is empty"),
        (GOOD * 60 + b"x" + GOOD[1:], "Row #61.*invalid value 'x'"),
        (GOOD * 60 + b"\xff" + GOOD[1:], "invalid"),
        (b"\xff\xfe" + GOOD, "first line is not text"),
        (b"1\t2\n" * 30, "row 1: expected 12 columns .*found 2"),
        (GOOD.replace(b"\t", b",") * 30, "row 1: expected 12 columns .*found 1"),
    ],
    ids=range(10),
)
def test_a_damaged_tiktok_file_is_named(tmp_path, content, message):
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw" / "final_track1_train.txt"
    path.write_bytes(content)
    dataset = dataset_in(tmp_path, "tiktok")
    with pytest.raises(DataError, match=message) as caught:
        prepare(dataset)
    assert str(path) in str(caught.value)
    assert nothing_written(dataset)


def test_a_row_far_into_the_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "_BLOCK_BYTES", 400)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "final_track1_train.txt").write_bytes(GOOD * 500 + b"1\t2\n" + GOOD * 9)
    with pytest.raises(DataError, match="Row #501: Expected 12 columns, got 2"):
        prepare(dataset_in(tmp_path, "tiktok"))


def test_a_missing_column_is_named(tmp_path):
    frame = write_qkvideo(tmp_path / "raw", [1, 2, 3])
    path = tmp_path / "raw" / "ctr_data_1M.csv"
    frame.rename(columns={"like": "likes"}).to_csv(path, index=False)
    dataset = dataset_in(tmp_path, "qkvideo")
    with pytest.raises(DataError, match=r"some are missing: 'like'. Did you mean 'likes'"):
        prepare(dataset)
    assert nothing_written(dataset)


def test_a_file_of_a_header_alone_is_refused(tmp_path):
    write_qkvideo(tmp_path / "raw", [])
    with pytest.raises(DataError, match=r"ctr_data_1M\.csv"):
        prepare(dataset_in(tmp_path, "qkvideo"))


def test_a_column_named_twice_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    header = ",".join([*qkvideo.COLUMNS, "age"])
    (tmp_path / "raw" / "ctr_data_1M.csv").write_text(header + "\n" + ",".join("1" * 21) + "\n")
    with pytest.raises(DataError, match="names age more than once"):
        prepare(dataset_in(tmp_path, "qkvideo"))


def test_rows_are_counted_with_the_header(tmp_path):
    frame = write_qkvideo(tmp_path / "raw", [1] * 30)
    path = tmp_path / "raw" / "ctr_data_1M.csv"
    lines = frame.to_csv(index=False).splitlines()
    lines[20] = lines[20].replace(",", ",,", 2)
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match="Row #21: Expected 20 columns, got 22"):
        prepare(dataset_in(tmp_path, "qkvideo"))
    frame["like"] = frame["like"].astype(object)
    frame.loc[19, "like"] = ""
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match="row 21: like is empty"):
        prepare(dataset_in(tmp_path, "qkvideo"))


def test_a_cut_gzip_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "_BLOCK_BYTES", 1000)
    write_kuairand(tmp_path / "raw", kuairand_tables(), ending=".csv.gz")
    path = tmp_path / "raw" / "log_standard_4_22_to_5_08_pure.csv.gz"
    path.write_bytes(path.read_bytes()[:-40])
    dataset = dataset_in(tmp_path, "kuairand_pure")
    with pytest.raises(DataError, match="4_22_to_5_08_pure.csv.gz"):
        prepare(dataset)
    assert nothing_written(dataset)


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
    paths = {split: tmp_path / f"{split}.csv" for split in SPLITS}
    with SplitWriter(paths, ["like", "seconds"]) as writer:
        frame = pl.DataFrame({"like": [1, 0, 1, 0], "seconds": [1, 0, 7, 0]})
        writer.write(frame, np.array([0, 0, 1, 2]))
    text = summary(writer, {"rows": {"train": "1.5M"}})
    assert text.splitlines() == [
        "split      rows  published    like  seconds",
        "train         2       1.5M  0.5000  not 0/1",
        "valid         1          -  1.0000  not 0/1",
        "test          1          -  0.0000  not 0/1",
        "all           4          -  0.5000  not 0/1",
        "published                        -        -",
    ]


def test_progress_is_logged(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(raw, "_BLOCK_BYTES", 4000)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    write_tiktok(tmp_path / "raw", 1000)
    with caplog.at_level(logging.INFO):
        prepare(dataset_in(tmp_path, "tiktok"))
    assert "Splitting final_track1_train.txt: 100% of 1,000 rows, 0:00:00 left," in caplog.text
    assert "rows/s" in caplog.text


def test_missing_raw_files_are_accounted_for(tmp_path):
    expected = {
        "tiktok": ["final_track1_train.txt", "ICME 2019", "closed"],
        "qkvideo": ["ctr_data_1M.csv", "2022-NIPS-Tenrec", "tenrec_dataset.html"],
        "kuairand1k": ["user_features_1k.csv", "KuaiRand-1K.tar.gz", "10439422", "kuairand.com"],
        "kuairand_pure": ["log_standard_4_08_to_4_21_pure.csv", "KuaiRand-Pure.tar.gz"],
    }
    for dataset_id, words in expected.items():
        dataset = dataset_in(tmp_path, dataset_id)
        with pytest.raises(RawFilesMissing) as caught:
            prepare(dataset)
        for word in [*words, str(tmp_path / "raw")]:
            assert word in str(caught.value)
        assert not Path(dataset["train_data"]).parent.exists()


def test_config_mistakes_come_in_one_message(tmp_path):
    dataset = dataset_in(tmp_path, "kuairand_pure", suffix="x")
    dataset |= {"data_format": "parquet", "test_data": str(tmp_path / "elsewhere" / "test")}
    del dataset["prepare"]["raw_dir"]
    with pytest.raises(ConfigError) as caught:
        prepare(dataset)
    for word in ("kuairand_pure", "raw_dir", "data_format", "test_data: ", "one folder", "suffix"):
        assert word in str(caught.value)


def test_unknown_preparers_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"found 'tiktoc'\. Did you mean 'tiktok'"):
        prepare(dataset_in(tmp_path, "tiktok", preparer="tiktoc"))
    with pytest.raises(ConfigError, match=r"preparer: must be one of .* found \['tiktok'\]"):
        prepare(dataset_in(tmp_path, "tiktok", preparer=["tiktok"]))
    with pytest.raises(ConfigError, match="no `prepare` mapping"):
        prepare({"dataset_id": "mine"})


def test_every_shipped_dataset_states_its_source_and_options():
    assert {"tiktok", "qkvideo", "kuairand1k", "kuairand_pure"} <= set(DATASETS)
    readme = (CONFIG.parent / "README.md").read_text()
    for dataset_id, dataset in DATASETS.items():
        if "prepare" in dataset:
            preparer = PREPARERS[dataset["prepare"]["preparer"]]
            preparer.parse_options(dataset["prepare"])
            assert dataset["prepare"].get("stand_in", dataset_id) in DATASETS
            if preparer.name != "tiktok_sample":
                assert dataset["prepare"]["raw_dir"].removeprefix("./") in readme
        assert {"name", "url", "licence", "rows", "decided_here"} <= set(dataset["source"])
        assert f"/{dataset_id}/" in dataset["train_data"]


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


def test_a_full_disk_is_reported(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    paths = {split: tmp_path / f"{split}.csv" for split in SPLITS}
    paths["valid"].symlink_to("/dev/full")
    frame = pl.DataFrame({"like": np.zeros(200_000, dtype=np.int64)})
    with (
        pytest.raises(OutputError, match=r"valid\.csv|split file"),
        SplitWriter(paths, ["like"]) as writer,
    ):
        writer.write(frame, np.arange(200_000) % 3)


def test_values_survive_the_round_trip(tmp_path):
    values = ["[100,1k)", 'say "x"', "a\nb", None, " lead", "1.0", "-124", "é", "'"]
    paths = {split: tmp_path / f"{split}.csv" for split in SPLITS}
    frame = pl.DataFrame({"v": values, "like": [1] * len(values)})
    with SplitWriter(paths, ["like"]) as writer:
        for code in range(3):
            writer.write(frame, np.full(len(values), code))
    for path in paths.values():
        assert pl.read_csv(path, infer_schema=False)["v"].to_list() == values
        text = io.StringIO(path.read_text(encoding="utf-8"))
        by_pandas = pd.read_csv(text, dtype=str, keep_default_na=False)["v"].tolist()
        assert by_pandas == [value or "" for value in values]
