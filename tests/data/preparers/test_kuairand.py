from __future__ import annotations

import gzip
import logging

import numpy as np
import pandas as pd
import pytest

from fuxictr_stem.config.column_words import labels_of_files
from fuxictr_stem.data.preparers import kuairand, raw
from fuxictr_stem.data.preparers.job import RawFilesMissing
from fuxictr_stem.data.preparers.run_job import prepare
from fuxictr_stem.errors import ConfigError, DataError
from tests.support.raw_files import (
    DATASETS,
    LOG_COLUMNS,
    USER_COLUMNS,
    VIDEO_COLUMNS,
    dataset_in,
    kuairand_expected,
    kuairand_tables,
    nothing_written,
    read_splits,
    write_kuairand,
)

LOGS = ("log_standard_4_08_to_4_21", "log_standard_4_22_to_5_08")
FEATURES = ("user_features", "video_features_basic")


@pytest.mark.parametrize(
    ("suffix", "ending", "sub"), [("pure", ".csv", ""), ("1k", ".csv.gz", "data")]
)
def test_kuairand_joins_and_splits_by_date(tmp_path, block_bytes, suffix, ending, sub):
    tables = kuairand_tables()
    write_kuairand(tmp_path / "raw" / sub, tables, suffix, ending)
    dataset = dataset_in(tmp_path, "kuairand1k" if suffix == "1k" else "kuairand_pure")
    prepare(dataset)
    expected = kuairand_expected(tables, 20220507, 20220508)
    for split, frame in read_splits(dataset).items():
        assert set(frame.columns) == {
            *LOG_COLUMNS,
            *USER_COLUMNS,
            *VIDEO_COLUMNS,
            "hour",
            "duration_bucket",
        }
        assert frame.to_dicts() == [{c: row[c] for c in frame.columns} for row in expected[split]]


def test_kuairand_dates_lose_no_row(tmp_path):
    tables = kuairand_tables()
    write_kuairand(tmp_path / "raw", tables)
    dataset = dataset_in(tmp_path, "kuairand_pure", valid_date=20220430, test_date=20220507)
    prepare(dataset)
    expected = kuairand_expected(tables, 20220430, 20220507)
    assert {s: f.height for s, f in read_splits(dataset).items()} == {
        split: len(rows) for split, rows in expected.items()
    }
    assert sum(map(len, expected.values())) == 240


def test_kuairand_keeps_rows_without_features_and_says_so(tmp_path, caplog):
    tables = kuairand_tables()
    write_kuairand(tmp_path / "raw", tables)
    with caplog.at_level(logging.WARNING):
        prepare(dataset_in(tmp_path, "kuairand_pure"))
    log = pd.concat(list(tables.values())[:2])
    for key, last in (("user_id", "12"), ("video_id", "15")):
        rows = int((log[key] == last).sum())
        assert rows > 0
        assert f"{rows} rows have a {key} without features" in caplog.text


def test_kuairand_refuses_a_missing_log_unless_allowed(tmp_path, caplog):
    tables = kuairand_tables()
    del tables["log_standard_4_08_to_4_21"]
    write_kuairand(tmp_path / "raw", tables)
    with pytest.raises(RawFilesMissing) as caught:
        prepare(dataset_in(tmp_path, "kuairand_pure"))
    assert "log_standard_4_08_to_4_21_pure.csv" in str(caught.value)
    assert "4_22_to_5_08" not in str(caught.value)
    assert "allow_missing_log" in str(caught.value)
    dataset = dataset_in(tmp_path, "kuairand_pure", allow_missing_log=True)
    with caplog.at_level(logging.WARNING):
        prepare(dataset)
    assert "ONE LOG IS MISSING" in caplog.text
    expected = kuairand_expected(tables, 20220507, 20220508)
    assert {s: f.height for s, f in read_splits(dataset).items()} == {
        split: len(rows) for split, rows in expected.items()
    }


def test_splits_made_by_hand_with_one_log_serve_a_run_and_say_so(tmp_path, caplog):
    """The command line permits what the config does not; a run then takes the splits as they are."""
    tables = kuairand_tables()
    del tables["log_standard_4_08_to_4_21"]
    write_kuairand(tmp_path / "elsewhere", tables)
    folder = str(tmp_path / "elsewhere")
    prepare(dataset_in(tmp_path, "kuairand_pure", raw_dir=folder, allow_missing_log=True))
    with caplog.at_level(logging.INFO):
        prepare(dataset_in(tmp_path, "kuairand_pure"))
    assert "used as they are" in caplog.text
    assert "cannot be compared with published ones" in caplog.text


@pytest.mark.parametrize("gone", ["user_features", "video_features_basic"])
def test_kuairand_needs_the_feature_files_whatever_is_allowed(tmp_path, gone):
    tables = kuairand_tables()
    del tables[gone]
    write_kuairand(tmp_path / "raw", tables)
    with pytest.raises(RawFilesMissing, match=f"looked for {gone}_pure.csv"):
        prepare(dataset_in(tmp_path, "kuairand_pure", allow_missing_log=True))


def test_kuairand_never_multiplies_rows(tmp_path):
    tables = kuairand_tables()
    users = tables["user_features"]
    tables["user_features"] = pd.concat([users, users.iloc[[3]]])
    write_kuairand(tmp_path / "raw", tables)
    dataset = dataset_in(tmp_path, "kuairand_pure")
    prepare(dataset)
    assert sum(frame.height for frame in read_splits(dataset).values()) == 240

    other = users.iloc[[3]].assign(onehot_feat1="99")
    tables["user_features"] = pd.concat([users, other])
    write_kuairand(tmp_path / "raw", tables)
    with pytest.raises(DataError, match="user_features_pure.csv: user_id 3 has more than one row"):
        prepare(dataset)


@pytest.mark.slow
def test_kuairand_real_files(tmp_path, stem_data):
    folder = stem_data / "kuairand_pure" / "raw"
    dataset = dataset_in(tmp_path, "kuairand_pure", raw_dir=str(folder), allow_missing_log=True)
    prepare(dataset)
    with gzip.open(folder / "log_standard_4_22_to_5_08_pure.csv.gz") as file:
        log = pd.read_csv(file, dtype=str)
    assert len(log) == 228_329
    log["hour"] = log["hourmin"].str[:-2].replace("", "0")
    for name in ("user_features_pure.csv.gz", "video_features_basic_pure.csv"):
        table = pd.read_csv(folder / name, dtype=str, keep_default_na=False)
        log = log.merge(table, how="left", on=table.columns[0], validate="many_to_one")
    dates = {"train": log["date"] < "20220507", "test": log["date"] > "20220507"}
    dates["valid"] = ~dates["train"] & ~dates["test"]
    for split, frame in read_splits(dataset).items():
        expected = log[dates[split]]
        assert frame.height == len(expected)
        for name in log.columns:
            assert frame[name].fill_null("").to_list() == expected[name].tolist(), name


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({"suffix": "27k"}, ["suffix: must be one of 1k, pure, found '27k'"]),
        ({"suffix": ["pure"]}, ["suffix: must be one of 1k, pure, found ['pure']"]),
        ({"suffix": {}}, ["suffix: must be one of 1k, pure, found {}"]),
        ({"valid_date": 1 << 20_000}, ["valid_date: must be a day"]),
        ({"valid_date": "2022-05-07"}, ["valid_date: must be a day"]),
        ({"test_date": 20220532}, ["test_date: must be a day"]),
        ({"valid_date": 20220508}, ["valid_date: must be before test_date"]),
        ({"allow_missing_log": "yes"}, ["allow_missing_log: must be True or False"]),
        ({"suffix": "x", "test_date": None}, ["suffix: must", "test_date: must"]),
        (
            {"valid_dat": 20220507},
            [
                "preparer kuairand: prepare.valid_dat: is not a known key",
                "Did you mean 'valid_date'?",
            ],
        ),
    ],
)
def test_kuairand_options_are_checked(tmp_path, options, messages):
    with pytest.raises(ConfigError) as caught:
        prepare(dataset_in(tmp_path, "kuairand_pure", **options))
    for message in messages:
        assert message in str(caught.value)


def test_an_option_without_default_is_needed(tmp_path):
    dataset = dataset_in(tmp_path, "kuairand_pure")
    del dataset["prepare"]["suffix"]
    with pytest.raises(ConfigError, match="preparer kuairand: prepare.suffix: is missing"):
        prepare(dataset)


def test_kuairand_features_hold_nothing_that_follows_the_exposure():
    after = {"play_time_ms", "profile_stay_time", "comment_stay_time", *kuairand.LABELS}
    for dataset_id in ("kuairand1k", "kuairand_pure"):
        dataset = DATASETS[dataset_id]
        names = {n for col in dataset["feature_cols"] for n in np.atleast_1d(col["name"])}
        assert not names & after
        labels = labels_of_files(dataset["label_col"])
        assert {col["name"] for col in labels} == set(kuairand.LABELS)


def kuairand_with(tmp_path, changes):
    """KuaiRand-Pure with some values of its second log changed: (row, column) -> value."""
    tables = kuairand_tables()
    log = tables[LOGS[1]]
    for (row, column), value in changes.items():
        log.iloc[row, log.columns.get_loc(column)] = value
    write_kuairand(tmp_path / "raw", tables)
    return dataset_in(tmp_path, "kuairand_pure")


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        *(
            ("duration_ms", value, "a number from 0 to 2,147,483,647, or empty")
            for value in ("NaN", "inf", "-5", "1e300", "x")
        ),
        *(
            ("date", value, "a day such as 20220507")
            for value in ("0", "-5", "99999999999", "20220431", "220507")
        ),
        *(
            ("hourmin", value, "an hour and minute such as 2359")
            for value in ("-1", "2400", "1260")
        ),
    ],
)
def test_kuairand_values_that_cannot_be_are_refused(tmp_path, monkeypatch, column, value, rule):
    monkeypatch.setattr(raw, "_BLOCK_BYTES", 1000)
    dataset = kuairand_with(tmp_path, {(row, column): value for row in (3, 70, 110)})
    with pytest.raises(DataError) as caught:
        prepare(dataset)
    found = value if column != "duration_ms" else repr(value)
    for part in (
        f"{LOGS[1]}_pure.csv: {column} must be {rule}",
        "; 3 of 120 rows",
        f"first {found} in row 5.",
    ):
        assert part in str(caught.value)
    assert nothing_written(dataset)


def test_all_columns_that_cannot_be_come_in_one_message(tmp_path):
    dataset = kuairand_with(tmp_path, {(3, "date"): "0", (9, "duration_ms"): "inf"})
    with pytest.raises(
        DataError, match=r"(?s)date must be .* row 5\..*duration_ms must .* row 11\."
    ):
        prepare(dataset)


def test_kuairand_durations_may_be_unknown_or_fractions(tmp_path):
    values = ["", "12499.5", "4.1e4", "2147483647"]
    changes = {(row, "duration_ms"): value for row, value in enumerate(values)}
    dataset = kuairand_with(tmp_path, {**changes, **{(row, "tab"): "7" for row in range(4)}})
    prepare(dataset)
    rows = [row for part in read_splits(dataset).values() for row in part.to_dicts()]
    buckets = {row["duration_ms"]: row["duration_bucket"] for row in rows if row["tab"] == "7"}
    assert buckets == {None: None, "12499.5": "2", "4.1e4": "8", "2147483647": "60"}


def test_kuairand_logs_must_have_the_same_columns(tmp_path):
    tables = kuairand_tables()
    tables[LOGS[1]] = tables[LOGS[1]].rename(columns={"tab": "tub"})
    write_kuairand(tmp_path / "raw", tables)
    dataset = dataset_in(tmp_path, "kuairand_pure")
    with pytest.raises(DataError, match="4_22_to_5_08_pure.csv: its columns must be .* tub"):
        prepare(dataset)
    assert nothing_written(dataset)


@pytest.mark.parametrize("stem", [*LOGS, *FEATURES])
def test_a_kuairand_file_of_a_header_alone_is_refused(tmp_path, stem):
    tables = kuairand_tables()
    tables[stem] = tables[stem].iloc[:0]
    write_kuairand(tmp_path / "raw", tables)
    dataset = dataset_in(tmp_path, "kuairand_pure")
    with pytest.raises(DataError, match=f"{stem}_pure.csv: the file has a header and no rows"):
        prepare(dataset)
    assert nothing_written(dataset)
