"""Files of logs are read with the right separator, and labels of words as numbers."""

import polars as pl
import pytest

from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.experiment import open_data
from tests.support.logs_of_a_shop import columns_of, logs


@pytest.mark.parametrize("sep", [";", "\t", "|"])
def test_another_separator_is_that_of_the_project(shop, capsys, sep):
    rows = logs().drop("tags") if sep == "|" else logs()
    text = rows.write_csv(separator=sep)
    (shop.folder / "logs.csv").write_text(text)
    assert shop() == 0
    assert f"separator: {sep!r}" in capsys.readouterr().out
    folder = shop.folder / "config" / "shop"
    dataset, columns = columns_of(folder)
    assert dataset["sep"] == sep
    assert columns["price"]["type"] == "numeric"
    splits = [(folder / "data" / f"{s}.csv").read_text() for s in ("train", "valid", "test")]
    header, *lines = text.splitlines()
    assert all(split.startswith(f"{header}\n") for split in splits)
    assert sorted(line for split in splits for line in split.splitlines()[1:]) == sorted(lines)


@pytest.mark.parametrize("sep", [";;", "\u00a7", '"', ""])
def test_a_separator_is_one_character(shop, capsys, sep):
    with pytest.raises(SystemExit, match="2"):
        shop(sep=sep)
    assert "must be one ASCII character" in capsys.readouterr().err


def test_a_separator_that_two_characters_may_be_is_asked_for(shop, capsys):
    (shop.folder / "odd.csv").write_text("a;b|y\n" + "1;2|0\n3;4|1\n" * 100)
    assert shop("odd.csv", labels="y") == 2
    assert "name their separator by --sep" in capsys.readouterr().err
    assert shop("odd.csv", labels="y", sep="|") == 0
    assert {*columns_of(shop.folder / "config" / "shop")[1]} == {"a;b"}


@pytest.mark.parametrize("data", ["answers.csv", "answers.parquet"])
def test_labels_of_words(shop, data):
    words = [["false", "No", "FALSE", " no", "0"], ["True", "YES", "true", "yes ", "1.0"]]
    click = [words[value][row % 5] for row, value in enumerate(logs()["click"])]
    rows = logs().with_columns(click=pl.Series(click))
    write = rows.write_csv if data == "answers.csv" else rows.write_parquet
    write(data)
    assert shop(data) == 0
    folder = shop.folder / "config" / "shop"

    def clicks():
        cache = open_data(load_experiment(folder, "SharedBottom_shop"))
        return [cache.labels[split]["click"]["positives"] for split in cache.rows]

    assert sum(clicks()) == logs()["click"].sum()
    # A run reads the words, too, as in the rows of tomorrow.
    write(folder / "data" / data.replace("answers", "train"))
    assert clicks()[0] == logs()["click"].sum()
