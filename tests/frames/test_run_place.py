"""A run is replaced only if the caller says so, and files of others stay."""

from fuxictr_stem.errors import ConfigError, DataError, OutputError
from tests.support.fitted import configs, message, result_of
from tests.support.shop import shop_rows


def test_a_finished_run_is_replaced_only_if_the_caller_says_so(fit, frames, tmp_path):
    folder = fit()
    first, weights = result_of(folder), (folder / "model.safetensors").read_bytes()
    text = message(OutputError, fit)
    assert "holds a finished run (STEMNet_shop)" in text
    assert "overwrite=True" in text
    # The same rows and settings: nothing is trained.
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert result_of(fit(resume=True)) == first
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    # Others are rejected, and nothing is lost.
    assert "learning_rate: 0.001 then, 0.01 now" in message(
        ConfigError, fit, resume=True, learning_rate=0.01
    )
    assert "model_id" in message(ConfigError, fit, resume=True, model="MMoE")
    frames["train"] = frames["train"].iloc[:-1]
    assert "resume=True: " in message(ConfigError, fit, resume=True)
    message(ConfigError, fit, overwrite=True, epochs=0)
    frames["valid"]["click"] = 1
    message(DataError, fit, overwrite=True)
    frames["valid"] = shop_rows(200, 1)
    assert (result_of(folder), (folder / "model.safetensors").read_bytes()) == (first, weights)
    assert configs(folder)[0]["STEMNet_shop"].get("learning_rate") == 0.001
    # And now it is replaced, by another model on other rows, and nothing of it stays.
    other = fit(overwrite=True, model="MMoE")
    assert result_of(other)["model"] == "MMoE"
    assert not folder.exists()
    assert len(list((tmp_path / "shop" / "data").iterdir())) == 1
    assert list(configs(other)[0]) == ["MMoE_shop"]


def test_files_of_others_stay_where_they_are(fit, frames, tmp_path):
    """Even where somebody names a folder that holds a whole project."""
    out = tmp_path / "shop"
    names = [
        "data/raw/rows.parquet",
        "result.json.tmp-4711-0badcafe/result.json",
        "data/0123456789abcdef/notes.txt",
        "cache/shop/0123456789abcdef/notes.txt",
        "checkpoints/shop/mine/result.json",
        "checkpoints/other/STEMNet_shop/result.json",
    ]
    for name in names:
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("{}")
    fit()
    frames["train"] = frames["train"].iloc[:-1]
    fit(model="MMoE", overwrite=True)
    assert all((out / name).exists() for name in names)
    assert len(list((out / "checkpoints").rglob("model.safetensors"))) == 1
    assert len(list((out / "data").rglob("train.parquet"))) == 1
    assert len(list((out / "cache").rglob("train.h5"))) == 1


def test_configs_of_another_origin_stay(fit, tmp_path):
    config = tmp_path / "shop" / "config"
    config.mkdir(parents=True)
    (config / "notes.txt").write_text("mine")
    assert "notes.txt was not written" in message(OutputError, fit, overwrite=True)
    (config / "notes.txt").rename(config / "model_config.yaml")
    assert "was not written by fuxictr_stem.fit" in message(OutputError, fit, overwrite=True)
    assert (config / "model_config.yaml").read_text() == "mine"
    (tmp_path / "shop").rename(tmp_path / "folder")
    (tmp_path / "shop").write_text("")
    assert "is not a folder" in message(OutputError, fit)
