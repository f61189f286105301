"""`init`: what it guesses of a file, how it splits the rows, and that what it writes runs."""

import json

import numpy as np
import pytest

from fuxictr_stem import load
from fuxictr_stem.cli import main
from fuxictr_stem.config.experiment_config import list_experiments, load_experiment
from tests.support.logs_of_a_shop import ROWS, odd


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
