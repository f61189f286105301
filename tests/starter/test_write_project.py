"""`init`: what it guesses of a file, how it splits the rows, and that what it writes runs."""

import json
from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
import yaml

from fuxictr_stem import load
from fuxictr_stem.cli import main
from fuxictr_stem.config.experiment_config import list_experiments, load_experiment
from fuxictr_stem.experiment import open_data

ROWS = 600


def logs(rows=ROWS):
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 30, rows), rng.integers(0, 20, rows)
    click = (rng.random(rows) < 0.2 + 0.6 * (user % 2)).astype(int)
    buy = click * (rng.random(rows) < 0.5)
    number = rng.normal(size=rows).round(3)
    return pl.DataFrame(
        {
            "row": np.arange(rows) + 10**12,
            "user_id": [f"{value:06d}" for value in user],
            "item": item + 10**15,
            "price": rng.integers(1, 10_000, rows),
            "heat": ["NA" if value > 1 else str(value) for value in number],
            "tags": ["|".join("abcd"[: 1 + value % 4]) for value in item],
            "city": [None if value < 3 else f"c, {value}" for value in item],
            "source": ["app"] * rows,
            "ts": rng.permutation(rows) // 3 + 1_700_000_000,
            "click": click,
            "buy": [None if value < 2 else int(b) for value, b in zip(item, buy, strict=True)],
        }
    )


@pytest.fixture
def shop(tmp_path, monkeypatch, root_logging):
    """A folder with logs.csv and logs.parquet; call it to run `init`."""
    monkeypatch.chdir(tmp_path)
    logs().write_csv("logs.csv")
    logs().write_parquet("logs.parquet")

    def init(data="logs.csv", labels="click,buy", out="config/shop", **options):
        more = [text for key, value in options.items() for text in (f"--{key}", value)]
        return main(["init", "--data", data, "--labels", labels, "--out", out, *more])

    init.folder = tmp_path
    return init


def columns_of(folder):
    (dataset,) = yaml.safe_load((folder / "dataset_config.yaml").read_text()).values()
    return dataset, {entry["name"]: entry for entry in dataset["feature_cols"]}


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


def odd(rows=200):
    """Rows of which each column but x and y is odd in its own way."""
    number = np.arange(rows)
    return pl.DataFrame(
        {
            "x": [f"x{n % 5}" for n in number],
            "y": number % 2,
            "ts": number,
            "answer": ["no"] * rows,
            "rare": [int(n < 9) for n in number],
            "late": [None] * 180 + [0, 1] * 10,
            "zones": [f"2026-01-01T10:00:00{'Z' if n % 2 else '+01:00'}" for n in number],
            "hours": ["2026-01-01 1:00"] * rows,
        }
    )


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


def test_all_that_is_written_runs(shop, capsys):
    assert shop("logs.csv", time="ts") == 0
    command = capsys.readouterr().out.splitlines()[-1].split()[3:]
    config = shop.folder / "config" / "shop"
    ids = list_experiments(config)
    assert {
        "STEMNet_shop",
        "SharedBottom_shop",
        "SingleTask_shop_click",
        "SingleTask_shop_buy",
    } == set(ids)
    for expid in ids:
        params = load_experiment(config, expid)
        assert params["task_labels"] == (
            [expid.rpartition("_")[2]] if "Single" in expid else ["click", "buy"]
        )
    assert main(command) == 0
    run = shop.folder / "checkpoints" / "shop" / "SharedBottom_shop"
    result = json.loads((run / "result.json").read_text())
    assert result["test"]["click_AUC"] > 0.6
    # Tomorrow's file is like today's.
    scores = load(run).predict("logs.csv")
    assert len(scores) == ROWS


@pytest.mark.slow
def test_the_benchmark_file_is_one(shop):
    assert shop("logs.parquet") == 0
    file = shop.folder / "config" / "shop" / "benchmark" / "shop.yaml"
    text = file.read_text().replace("[1, 2, 3]", "[1]").replace("[2.e-3, 1.e-3, 5.e-4]", "[1.e-3]")
    file.write_text(text)
    assert main(["benchmark", "--config", str(file), "--out", "out"]) == 0
    assert "SingleTask" in (shop.folder / "out" / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"labels": "click,buyy"}, "--labels: there is no column 'buyy'. Did you mean 'buy'?"),
        ({"labels": "click,click"}, "--labels: names 'click' twice."),
        ({"time": "tss"}, "--time: there is no column 'tss'. Did you mean 'ts'?"),
        ({"time": "city"}, "must hold numbers, or dates"),
        ({"time": "source"}, "must hold numbers, or dates"),
        ({"labels": "city"}, "--labels city: must hold 0 and 1"),
        ({"group": "click"}, "--group: 'click' is a label, too."),
        ({"data": "odd.csv", "labels": "x"}, "found 'x0'. Convert it first"),
        (
            {"data": "commas.csv", "labels": "y"},
            "column 'x' has numbers with a comma, such as '1,5'",
        ),
        ({"data": "digits.csv", "labels": "y"}, "found '\u0661'. Convert it first"),
        ({"data": "blank.csv", "labels": "y"}, "it has only blank lines"),
        ({"data": "workbook.csv", "labels": "y"}, "it is a workbook of Excel"),
        ({"data": "utf16.csv", "labels": "y"}, "it is UTF-16"),
        ({"data": "columns.csv", "labels": "y"}, "it is parquet, but its name does not say so"),
        ({"data": "odd.csv", "labels": "y", "time": "late"}, "found nothing in row 1"),
        ({"data": "odd.parquet", "labels": "y", "sep": ";"}, "--sep: is for csv files"),
        ({"data": "excel.csv", "labels": "y"}, "its first line 'sep=;' is for Excel"),
        ({"data": "rotten.parquet", "labels": "y"}, "--data: the rows cannot be read"),
        (
            {"data": "odd.csv", "labels": "rare", "time": "ts"},
            "has no positive among 20 rows of valid",
        ),
        (
            {"data": "odd.csv", "labels": "late", "time": "ts"},
            "label 'late' has no positive among 0 rows",
        ),
        ({"data": "odd.csv", "labels": "y", "time": "zones"}, "several time zones (+01:00, Z)"),
        ({"data": "odd.csv", "labels": "y", "time": "hours"}, "found '2026-01-01 1:00'"),
        ({"data": "infinite.csv", "labels": "y"}, "column 'x' is infinite in 1 row."),
        ({"data": "odd.parquet", "labels": "y", "time": "time"}, "found nan in row 1"),
        ({"data": "pattern.csv", "labels": "y"}, "'*' would be read as a pattern by polars"),
        ({"out": "~"}, "neither '~' nor variables are expanded"),
        ({"out": "x" * 250}, "name too long"),
        ({"data": "absent.csv"}, "absent.csv"),
        ({"data": "cut.csv"}, "cut.csv"),
        ({"data": "one.csv"}, "1 row, too few to split"),
    ],
)
def test_mistakes_are_one_message(shop, capsys, options, text):
    (shop.folder / "cut.csv").write_text((shop.folder / "logs.csv").read_text()[:-9])
    (shop.folder / "one.csv").write_text("click,buy,user\n1,0,u\n")
    (shop.folder / "commas.csv").write_text("x;y\n" + "1,5;0\n2,5;1\n3;1\n" * 9)
    (shop.folder / "excel.csv").write_text("sep=;\nx;y\n" + "1;0\n2;1\n" * 9)
    (shop.folder / "pattern.csv").write_text("*,y\n" + "1,0\n" * 9)
    (shop.folder / "infinite.csv").write_text("x,y\n" + "1.5,0\n-inf,1\n2.5,1\n")
    odd().write_csv("odd.csv")
    odd().with_columns(time=np.append(np.nan, np.arange(199.0))).write_parquet("odd.parquet")
    (shop.folder / "digits.csv").write_text("x,y\n" + "a,0\na,\u0661\n" * 9)
    (shop.folder / "blank.csv").write_text("\n\r\n\n")
    (shop.folder / "workbook.csv").write_bytes(b"PK\x03\x04\xff\x00")
    (shop.folder / "utf16.csv").write_text("x,y\n1,0\n", encoding="utf-16")
    whole = (shop.folder / "odd.parquet").read_bytes()
    (shop.folder / "columns.csv").write_bytes(whole)
    (shop.folder / "rotten.parquet").write_bytes(whole[:4] + bytes(400) + whole[404:])
    before = sorted(shop.folder.rglob("*"))
    assert shop(**options) == 2
    captured = capsys.readouterr()
    assert text in captured.err
    assert "Traceback" not in captured.err
    assert not captured.out
    assert sorted(shop.folder.rglob("*")) == before


def test_nothing_is_overwritten(shop, capsys):
    place = shop.folder / "config" / "shop"
    place.mkdir(parents=True)
    (place / "mine.yaml").write_text("mine")
    assert shop() == 2
    assert "already exists" in capsys.readouterr().err
    assert [path.name for path in place.iterdir()] == ["mine.yaml"]
