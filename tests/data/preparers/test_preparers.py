from __future__ import annotations

import gzip
import logging

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from fuxictr_stem.config.nesting import labels_of_files
from fuxictr_stem.data.preparers import RawFilesMissing, kuairand, prepare, qkvideo, raw
from fuxictr_stem.data.preparers.tiktok import COLUMNS, split_membership
from fuxictr_stem.errors import ConfigError, DataError
from tests.support.raw_files import (
    DATASETS,
    LOG_COLUMNS,
    SPLITS,
    USER_COLUMNS,
    VIDEO_COLUMNS,
    as_text,
    dataset_in,
    kuairand_tables,
    read_splits,
    write_kuairand,
    write_qkvideo,
    write_tiktok,
)

BLOCKS = [1000, 1 << 24]  # bytes; a thousand hold a few rows


@pytest.fixture(params=BLOCKS, ids=["many blocks", "one block"])
def block_bytes(request, monkeypatch):
    monkeypatch.setattr(raw, "_BLOCK_BYTES", request.param)
    return request.param


# TikTok


@pytest.mark.parametrize("n", [2, 9, 10, 11, 99, 101, 200, 1000, 1001, 12_345])
def test_tiktok_rows_are_those_of_scikit_learn(n):
    frame = pd.DataFrame({"row": np.arange(n)})
    rest, test = train_test_split(frame, test_size=0.1, random_state=42)
    membership = split_membership(n)
    assert set(np.flatnonzero(membership == 2)) == set(test["row"])
    if len(rest) < 2:  # scikit-learn refuses to split one row
        return
    train, valid = train_test_split(rest, test_size=0.1, random_state=42)
    assert set(np.flatnonzero(membership == 1)) == set(valid["row"])
    assert set(np.flatnonzero(membership == 0)) == set(train["row"])


def test_tiktok_split_sizes_are_the_published_ones():
    rows = DATASETS["tiktok"]["source"]["rows"]
    test = -(-rows["raw"] // 10)
    valid = -(-(rows["raw"] - test) // 10)
    assert (rows["test"], rows["valid"]) == (test, valid)
    assert sum(rows[split] for split in SPLITS) == rows["raw"]
    assert [round(rows[split] / 1e6, 1) for split in SPLITS] == [223.4, 24.8, 27.6]


def test_tiktok_splits_hold_the_rows_in_file_order(tmp_path, block_bytes):
    frame = write_tiktok(tmp_path / "raw", 1003)
    dataset = dataset_in(tmp_path, "tiktok")
    prepare(dataset)
    rest, test = train_test_split(frame, test_size=0.1, random_state=42)
    train, valid = train_test_split(rest, test_size=0.1, random_state=42)
    for split, expected in zip(SPLITS, (train, valid, test), strict=True):
        written = read_splits(dataset)[split]
        assert written.columns == list(COLUMNS)
        assert written.rows() == as_text(expected.sort_index())


def test_tiktok_takes_a_last_line_without_line_end(tmp_path):
    write_tiktok(tmp_path / "raw", 50)
    path = tmp_path / "raw" / "final_track1_train.txt"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    dataset = dataset_in(tmp_path, "tiktok")
    prepare(dataset)
    assert sum(frame.height for frame in read_splits(dataset).values()) == 50


def test_tiktok_real_rows(tmp_path, stem_data):
    folder = stem_data / "tiktok"
    dataset = dataset_in(tmp_path, "tiktok", raw_dir=str(folder))
    prepare(dataset)
    splits = read_splits(dataset)
    assert {split: frame.height for split, frame in splits.items()} == {
        "train": 162,
        "valid": 18,
        "test": 20,
    }
    lines = (folder / "final_track1_train.sample.txt").read_text().splitlines()
    written = ["\t".join(row) for frame in splits.values() for row in frame.rows()]
    assert sorted(written) == sorted(lines)


def test_tiktok_wants_one_raw_file(tmp_path):
    write_tiktok(tmp_path / "raw", 50)
    (tmp_path / "raw" / "final_track1_train.sample.txt").touch()
    with pytest.raises(DataError, match="More than one.*sample.txt, final_track1_train.txt"):
        prepare(dataset_in(tmp_path, "tiktok"))


# QK


def cut_per_user(frame: pd.DataFrame) -> dict[str, list[tuple]]:
    """The split as the words say it, one row after the other."""
    total = {user: list(frame["user_id"]).count(user) for user in set(frame["user_id"])}
    seen = dict.fromkeys(total, 0)
    parts = {split: [] for split in SPLITS}
    for row in as_text(frame):
        user = int(row[0])
        n, k = total[user], seen[user]
        parts["train" if k < 8 * n // 10 else "valid" if k < 9 * n // 10 else "test"].append(row)
        seen[user] += 1
    return parts


@pytest.mark.parametrize("pending", [1, qkvideo._PENDING])
def test_qkvideo_cuts_each_users_rows(tmp_path, block_bytes, monkeypatch, pending):
    monkeypatch.setattr(qkvideo, "_PENDING", pending)
    users = np.random.default_rng(1).zipf(1.3, 700).clip(max=40) * 1_000_003
    frame = write_qkvideo(tmp_path / "raw", users)
    dataset = dataset_in(tmp_path, "qkvideo")
    prepare(dataset)
    assert {s: f.rows() for s, f in read_splits(dataset).items()} == cut_per_user(frame)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(users=st.lists(st.integers(-3, 6), min_size=1, max_size=60), cut=st.integers(1, 60))
def test_qkvideo_places_rows_across_blocks(users, cut):
    counts = pl.DataFrame({"user_id": users}).group_by("user_id").agg(pl.len().alias("rows"))
    cuts = qkvideo._Cuts(counts)
    blocks = [np.array(users[i : i + cut]) for i in range(0, len(users), cut)]
    placed = np.concatenate([cuts.place(block) for block in blocks])
    expected = []
    for i, user in enumerate(users):
        n, k = users.count(user), users[:i].count(user)
        expected.append(0 if k < 8 * n // 10 else 1 if k < 9 * n // 10 else 2)
    assert placed.tolist() == expected


def test_qkvideo_leaves_watching_times_out_of_the_features():
    names = {n for col in DATASETS["qkvideo"]["feature_cols"] for n in np.atleast_1d(col["name"])}
    assert names == {*qkvideo.COLUMNS, "user_group"} - {*qkvideo.LABELS, "watching_times"}


# KuaiRand


def kuairand_expected(tables, valid_date, test_date) -> dict[str, list[dict]]:
    """The splits, joined by look-up, one row after the other."""
    users = {r["user_id"]: r for r in tables["user_features"].to_dict("records")}
    videos = {r["video_id"]: r for r in tables["video_features_basic"].to_dict("records")}
    parts = {split: [] for split in SPLITS}
    for stem in ("log_standard_4_08_to_4_21", "log_standard_4_22_to_5_08"):
        for row in tables[stem].to_dict("records") if stem in tables else []:
            row["hour"] = str(int(row["hourmin"]) // 100)
            row["duration_bucket"] = str(min(int(row["duration_ms"]) // 5000, 60))
            user = users.get(row["user_id"], dict.fromkeys(USER_COLUMNS[1:], ""))
            video = videos.get(row["video_id"], dict.fromkeys(VIDEO_COLUMNS[1:], ""))
            row = {**user, **video, **row}
            date = int(row["date"])
            split = "train" if date < valid_date else "valid" if date < test_date else "test"
            parts[split].append({name: value or None for name, value in row.items()})
    return parts


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
    assert "do not compare with published ones" in caplog.text


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
        ({"suffix": "27k"}, ["suffix: must be 1k or pure, found '27k'"]),
        ({"suffix": ["pure"]}, ["suffix: must be 1k or pure, found ['pure']"]),
        ({"suffix": {}}, ["suffix: must be 1k or pure, found {}"]),
        ({"valid_date": 1 << 20_000}, ["valid_date: must be a day"]),
        ({"valid_date": "2022-05-07"}, ["valid_date: must be a day"]),
        ({"test_date": 20220532}, ["test_date: must be a day"]),
        ({"valid_date": 20220508}, ["valid_date: must be before test_date"]),
        ({"allow_missing_log": "yes"}, ["allow_missing_log: must be true or false"]),
        ({"suffix": "x", "test_date": None}, ["suffix: must", "test_date: must"]),
        ({"valid_dat": 20220507}, ["no such option", "Did you mean 'valid_date'?"]),
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
    with pytest.raises(ConfigError, match="prepare.suffix: the preparer 'kuairand' needs"):
        prepare(dataset)


def test_kuairand_features_hold_nothing_that_follows_the_exposure():
    after = {"play_time_ms", "profile_stay_time", "comment_stay_time", *kuairand.LABELS}
    for dataset_id in ("kuairand1k", "kuairand_pure"):
        dataset = DATASETS[dataset_id]
        names = {n for col in dataset["feature_cols"] for n in np.atleast_1d(col["name"])}
        assert not names & after
        labels = labels_of_files(dataset["label_col"])
        assert {col["name"] for col in labels} == set(kuairand.LABELS)
