from __future__ import annotations

import pytest

from fuxictr_stem.cli import main
from fuxictr_stem.data.preparers.job import read_job
from fuxictr_stem.data.preparers.run_job import PREPARERS, prepare
from fuxictr_stem.errors import ConfigError
from tests.support.raw_files import (
    CONFIG,
    DATASETS,
    dataset_in,
)


def test_config_mistakes_come_in_one_message(tmp_path):
    dataset = dataset_in(tmp_path, "kuairand_pure", suffix="x")
    dataset |= {"data_format": "csv", "test_data": str(tmp_path / "elsewhere" / "test")}
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
    page = (CONFIG.parent / "docs" / "data.md").read_text()
    for dataset_id, dataset in DATASETS.items():
        if "prepare" in dataset:
            preparer = PREPARERS[dataset["prepare"]["preparer"]]
            assert read_job({**dataset, "dataset_id": dataset_id}, PREPARERS).preparer is preparer
            assert dataset["prepare"].get("stand_in", dataset_id) in DATASETS
            if preparer.name != "tiktok_sample":
                assert dataset["prepare"]["raw_dir"].removeprefix("./") in page
        assert {"name", "url", "licence", "rows", "decided_here"} <= set(dataset["source"])
        assert f"/{dataset_id}/" in dataset["train_data"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x" * 300, "File name too long"),
        ("~/kuairand", "Write the path itself"),
        ("", "must be text that can be a path, found ''"),
    ],
)
def test_the_raw_folder_of_the_command_line_is_checked(capsys, value, message):
    arguments = ["prepare", "--config", str(CONFIG), "--dataset", "kuairand_pure"]
    assert main([*arguments, f"--raw-dir={value}"]) == 2
    told = capsys.readouterr().err
    assert "error: --raw-dir: must be" in told
    assert message in told
