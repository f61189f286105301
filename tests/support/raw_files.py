"""What the preparers' tests share: shipped configs in a test's folder, and small raw files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import yaml

from fuxictr_stem.data.preparers import qkvideo, tiktok

CONFIG = Path(__file__).parents[2] / "config"
DATASETS = {
    dataset_id: dataset
    for path in sorted((CONFIG / "dataset_config").rglob("*.yaml"))
    for dataset_id, dataset in yaml.safe_load(path.read_text(encoding="utf-8")).items()
}
SPLITS = ("train", "valid", "test")

LOG_COLUMNS = [
    *("user_id", "video_id", "date", "hourmin", "time_ms", "is_click", "is_like", "is_follow"),
    *("is_comment", "is_forward", "is_hate", "long_view", "play_time_ms", "duration_ms"),
    *("profile_stay_time", "comment_stay_time", "is_profile_enter", "is_rand", "tab"),
]
USER_COLUMNS = [
    *("user_id", "user_active_degree", "is_lowactive_period", "is_live_streamer"),
    *("is_video_author", "follow_user_num", "follow_user_num_range", "fans_user_num"),
    *("fans_user_num_range", "friend_user_num", "friend_user_num_range", "register_days"),
    *("register_days_range", *(f"onehot_feat{i}" for i in range(18))),
]
VIDEO_COLUMNS = [
    *("video_id", "author_id", "video_type", "upload_dt", "upload_type", "visible_status"),
    *("video_duration", "server_width", "server_height", "music_id", "music_type", "tag"),
]


def dataset_in(folder: Path, dataset_id: str, **prepare: Any) -> dict[str, Any]:
    """A shipped dataset config with its paths in a test's folder and some options changed."""
    dataset = {**DATASETS[dataset_id], "dataset_id": dataset_id, "data_root": str(folder)}
    for split in SPLITS:
        dataset[f"{split}_data"] = str(folder / dataset_id / f"{split}.parquet")
    dataset["prepare"] = {**dataset["prepare"], "raw_dir": str(folder / "raw"), **prepare}
    return dataset


def read_splits(dataset: dict[str, Any]) -> dict[str, pl.DataFrame]:
    """The written splits, every value as text, an empty field as null."""
    frames = {s: pl.read_parquet(dataset[f"{s}_data"]) for s in SPLITS}
    assert all(set(frame.dtypes) <= {pl.Int64, pl.String} for frame in frames.values())
    return {split: frame.cast(pl.String) for split, frame in frames.items()}


def nothing_written(dataset: dict[str, Any]) -> bool:
    folder = Path(dataset["train_data"]).parent
    return not folder.exists() or {p.name for p in folder.iterdir()} <= {".prepare.lock"}


def tiktok_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.integers(-1, 50_000, n) for name in tiktok.COLUMNS})
    frame["finish"], frame["like"] = rng.integers(0, 2, (2, n))
    frame["create_time"] = 53_000_000_000 + np.arange(n)  # tells every row from every other
    return frame


def write_tiktok(folder: Path, n: int, seed=0) -> pd.DataFrame:
    folder.mkdir(parents=True, exist_ok=True)
    frame = tiktok_rows(n, seed)
    frame.to_csv(folder / "final_track1_train.txt", sep="\t", header=False, index=False)
    return frame


def write_qkvideo(folder: Path, users, seed=0) -> pd.DataFrame:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    n = len(users)
    frame = pd.DataFrame({name: rng.integers(0, 2, n) for name in qkvideo.COLUMNS})
    frame["user_id"] = users
    frame["item_id"] = np.arange(n)
    frame.to_csv(folder / "ctr_data_1M.csv", index=False)
    return frame


def kuairand_tables(n=240, seed=0) -> dict[str, pd.DataFrame]:
    """Raw tables by file stem; every value is text. The last user and video lack features."""
    rng = np.random.default_rng(seed)
    users, videos = 12, 15
    log = pd.DataFrame({name: rng.integers(0, 2, n) for name in LOG_COLUMNS})
    log["user_id"] = rng.integers(0, users + 1, n)
    log["video_id"] = rng.integers(0, videos + 1, n)
    log["date"] = rng.choice([20220408, 20220430, 20220506, 20220507, 20220508], n)
    log["hourmin"] = rng.choice([0, 45, 100, 1530, 2359], n)
    log["duration_ms"] = rng.choice([0, 4_999, 5_000, 17_001, 299_999, 300_000, 9_999_999], n)
    log["time_ms"] = np.arange(n)
    user = pd.DataFrame({name: rng.integers(0, 3, users) for name in USER_COLUMNS}).astype(str)
    user["user_id"] = np.arange(users)
    user["fans_user_num_range"] = "[100,1k)"
    user["onehot_feat4"] = np.where(np.arange(users) % 3 == 0, "", "1.0")
    video = pd.DataFrame({name: rng.integers(0, 3, videos) for name in VIDEO_COLUMNS}).astype(str)
    video["video_id"] = np.arange(videos)
    video["tag"] = np.where(np.arange(videos) % 2 == 0, "20,43", "7")
    video["upload_type"] = 'Said "so", long'
    log, user, video = log.astype(str), user.astype(str), video.astype(str)
    return {
        "log_standard_4_08_to_4_21": log.iloc[: n // 2],
        "log_standard_4_22_to_5_08": log.iloc[n // 2 :],
        "user_features": user,
        "video_features_basic": video,
    }


def write_kuairand(folder: Path, tables, suffix="pure", ending=".csv") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, table in tables.items():
        table.to_csv(folder / f"{stem}_{suffix}{ending}", index=False)


def as_text(frame: pd.DataFrame) -> list[tuple]:
    return [tuple(map(str, row)) for row in frame.itertuples(index=False)]


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
