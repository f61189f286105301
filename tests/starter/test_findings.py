"""What the values of columns say, and what is left out."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from fuxictr_stem.config.experiment_config import list_experiments, load_experiment
from fuxictr_stem.experiment import open_data
from tests.support.logs_of_a_shop import columns_of


def test_guesses_of_a_csv_file(shop):
    assert shop(time="ts") == 0
    dataset, columns = columns_of(shop.folder / "config" / "shop")
    # Leading zeros and long ids stay text; an amount is known by its name.
    for name in ("user_id", "item", "city"):
        assert columns[name] == {"name": name, "type": "categorical", "dtype": "str"}
    assert columns["price"]["type"] == columns["heat"]["type"] == "numeric"
    assert columns["price"]["normalizer"] == "StandardScaler"
    assert columns["tags"]["splitter"] == "|"
    assert columns["tags"]["max_len"] == 4
    # A name of a row, a constant and the time say nothing of tomorrow's rows.
    assert columns.keys() == {"user_id", "item", "city", "price", "heat", "tags"}
    assert dataset["null_values"] == ["NA"]
    assert dataset["group_id"] == "user_id"
    labels = {entry["name"]: entry for entry in dataset["label_col"]}
    assert "missing" not in labels["click"]
    assert np.isnan(labels["buy"]["missing"])
    text = (shop.folder / "config" / "shop" / "dataset_config.yaml").read_text()
    assert "parent: click" in text


def test_odd_columns_and_names(shop, capsys):
    """What no config can hold is left out with a word, and what it can is written so that it is read."""
    number, names = (
        np.arange(200),
        ["yes", "a: b", "{#", "'q' \"r\"", "x\nevil: 1", " a.b", "b\u2028c"],
    )
    rows = {name: [f"{name}{n % 3}" for n in number] for name in names}
    rows |= {"t\nevil: 2": number, "one\nevil: 3": ["same"] * 200, "": number, "y!": number % 2}
    rows |= {"y?": number % 2, "id": [float(n % 7) if n % 9 else np.nan for n in number]}
    rows |= {"day": [datetime(2026, 1, 1) + timedelta(days=int(n) % 9) for n in number]}
    rows |= {
        "new": [None] * 180 + ["a", "b"] * 10,
        "pair": [{"a": 1}] * 200,
        "vector": [[0.5]] * 200,
    }
    # Blanks that a CSV file quotes are missing numbers.
    rows |= {"heat": ["" if n % 9 else f"{n / 7}" for n in number]}
    pl.DataFrame(rows, strict=False).write_parquet("odd.parquet")
    pl.DataFrame(rows, strict=False).drop("pair", "vector").write_csv("odd.csv")
    for data, out in (("odd.parquet", "config/yes"), ("odd.csv", "2024/a 'b\n")):
        assert shop(data, labels="y!,y?", time="t\nevil: 2", out=out) == 0
        written = capsys.readouterr().out
        assert "no value in train" in written
        dataset, columns = columns_of(shop.folder / out)
        assert {*columns} - {"day"} == {*names, "id", "heat"}
        assert columns["id"]["type"] == "categorical"
        assert ("day" in columns) == (data == "odd.csv")
        assert (columns["heat"]["type"] == "numeric") == (data == "odd.csv")
        assert ("heat: text: not all are numbers, such as ''" in written) == (data != "odd.csv")
        ids = list_experiments(shop.folder / out)
        assert len(ids) == 4
        for expid in ids:
            cache = open_data(load_experiment(shop.folder / out, expid))
        assert cache.rows == {"train": 160, "valid": 20, "test": 20}
