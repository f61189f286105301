from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fuxictr_stem.data.preparers import tiktok_sample
from fuxictr_stem.data.preparers.run_job import prepare
from fuxictr_stem.data.preparers.tiktok import COLUMNS, split_membership
from fuxictr_stem.data.preparers.tiktok_sample import PARTS, TikTokSample, draw
from fuxictr_stem.errors import ConfigError, DataError, OutputError
from tests.support.raw_files import DATASETS, dataset_in, read_splits, write_tiktok

FEATURES = DATASETS["tiktok_sample"]["feature_cols"][0]["name"]
LABELS = ("finish", "like")
OPTIONS = ("rows", "seed", "finish_rate", "like_rate")


def drawn(**options):
    defaults = {name: TikTokSample.model_fields[name].default for name in OPTIONS}
    return draw(**{**defaults, **options})


def shipped(dataset_id):
    return {k: v for k, v in DATASETS[dataset_id]["prepare"].items() if k in OPTIONS}


@pytest.fixture(scope="module")
def sample():
    return drawn(**shipped("tiktok_sample"))


@pytest.fixture(scope="module")
def membership():
    return split_membership(shipped("tiktok_sample")["rows"])


def smoothed_rates(values, labels, membership, strength):
    """Each row's log of the rate of its value among the training rows, drawn to the mean."""
    _, index = np.unique(values, return_inverse=True)
    train = membership == 0
    rows = np.bincount(index[train], minlength=index.max() + 1)
    positives = np.bincount(index[train], weights=labels[train], minlength=index.max() + 1)
    return np.log((positives + strength * labels[train].mean()) / (rows + strength))[index]


def test_the_same_options_write_the_same_bytes(tmp_path):
    files = [
        tiktok_sample.write_raw(tmp_path / name, drawn(rows=3000, seed=5).columns) for name in "ab"
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    again = tiktok_sample.write_raw(tmp_path / "a", drawn(rows=3000, seed=6).columns)
    assert again.read_bytes() != files[1].read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "SYNTHETIC.txt",
        "final_track1_train.txt",
    ]


def test_the_raw_file_has_the_official_format(tmp_path):
    path = tiktok_sample.write_raw(tmp_path, drawn(rows=1000).columns)
    lines = path.read_text().splitlines()
    assert len(lines) == 1000
    table = np.array([[int(value) for value in line.split("\t")] for line in lines])
    assert table.shape == (1000, len(COLUMNS))
    columns = dict(zip(COLUMNS, table.T, strict=True))
    assert set(columns["finish"]) == set(columns["like"]) == {0, 1}
    assert columns["create_time"].min() > 53_000_000_000
    assert set(columns["channel"]) <= set(range(5))
    assert (columns["music_id"] == -1).any()
    assert (columns["video_duration"].min() >= 5) & (columns["video_duration"].max() <= 60)


def test_the_rates_are_the_published_ones(sample):
    published = DATASETS["tiktok"]["source"]["positive_rate"]
    assert DATASETS["tiktok_sample"]["source"]["positive_rate"] == published
    for label in LABELS:
        assert sample.probability[label].mean() == pytest.approx(published[label], abs=1e-6)
        spread = np.sqrt(published[label] / len(sample.columns[label]))
        assert sample.columns[label].mean() == pytest.approx(published[label], abs=4 * spread)


def test_users_and_items_are_long_tailed_and_still_frequent_enough(sample, membership):
    for name, most in (("uid", 2500), ("item_id", 2500)):
        values, index = np.unique(sample.columns[name], return_inverse=True)
        counts = np.sort(np.bincount(index))[::-1]
        assert len(values) < most
        tenth = counts[: len(counts) // 10].sum() / counts.sum()
        assert 0.25 < tenth < 0.5  # equal frequencies would give .1
    train, test = membership == 0, membership == 2
    for name in FEATURES:
        _, index = np.unique(sample.columns[name], return_inverse=True)
        frequent = np.bincount(index[train], minlength=index.max() + 1) >= 10
        assert frequent[index[test]].mean() > 0.98, name


def test_an_item_keeps_its_properties_and_a_user_two_devices(sample):
    columns = sample.columns
    for owner, names, most in (
        ("item_id", ["author_id", "music_id", "item_city", "channel", "video_duration"], 1),
        ("uid", ["user_city"], 1),
        ("uid", ["device_id"], 2),
    ):
        for name in names:
            pairs = set(zip(columns[owner].tolist(), columns[name].tolist(), strict=True))
            owners = np.bincount(np.unique([pair[0] for pair in pairs], return_inverse=True)[1])
            assert owners.max() == most, name


def test_the_labels_can_be_learned(sample, membership):
    test = membership == 2
    for label, best, simple in (("finish", 0.78, 0.74), ("like", 0.86, 0.76)):
        labels = sample.columns[label]
        truth = roc_auc_score(labels[test], sample.probability[label][test])
        assert truth > best
        rates = sum(
            smoothed_rates(sample.columns[name], labels, membership, 30)
            for name in ("uid", "item_id")
        )
        assert simple < roc_auc_score(labels[test], rates[test]) < truth


def test_every_feature_carries_something_of_both_labels(sample, membership):
    test = membership == 2
    for name in FEATURES:
        for label in LABELS:
            rates = smoothed_rates(
                sample.columns[name], sample.columns[label], membership, strength=60
            )
            assert roc_auc_score(sample.columns[label][test], rates[test]) > 0.55, (name, label)


@pytest.mark.parametrize(
    ("part", "finish", "like"),
    [("shared", 1, 1), ("conflict", 1, -1), ("finish", 1, 0), ("like", 0, 1)],
)
def test_the_labels_show_the_planted_parts(sample, part, finish, like):
    """Seen in the drawn labels alone: rows high in a part against rows low in it."""
    value = sample.parts[part]
    low, high = value < np.quantile(value, 0.3), value > np.quantile(value, 0.7)
    for label, sign in (("finish", finish), ("like", like)):
        labels = sample.columns[label]
        difference = labels[high].mean() - labels[low].mean()
        error = np.sqrt(labels[high].var() / high.sum() + labels[low].var() / low.sum())
        if sign:
            assert sign * difference > 10 * error, (part, label)
        else:
            assert abs(difference) < 4 * error + 0.05 * labels.mean(), (part, label)


def test_the_tasks_pull_apart_on_the_whole(sample):
    logit = {label: np.log(p / (1 - p)) for label, p in sample.probability.items()}
    assert np.corrcoef(logit["finish"], logit["like"])[0, 1] < -0.2
    # and the conflict is the items', too, so that one item table cannot serve both
    _, item = np.unique(sample.columns["item_id"], return_inverse=True)
    mean = {k: np.bincount(item, v) / np.bincount(item) for k, v in logit.items()}
    assert np.corrcoef(mean["finish"], mean["like"])[0, 1] < -0.2
    parts = np.array([sample.parts[part] for part in PARTS])
    off_diagonal = np.corrcoef(parts)[~np.eye(len(PARTS), dtype=bool)]
    assert np.abs(off_diagonal).max() < 1e-9


@pytest.mark.parametrize("dataset_id", ["tiktok_sample", "tiny_sample"])
def test_the_shipped_samples_are_prepared(tmp_path, dataset_id):
    dataset = dataset_in(tmp_path, dataset_id)
    prepare(dataset)
    rows = DATASETS[dataset_id]["source"]["rows"]
    assert rows["raw"] == dataset["prepare"]["rows"]
    sample = drawn(**shipped(dataset_id)).columns
    membership = split_membership(rows["raw"])
    for code, (split, frame) in enumerate(read_splits(dataset).items()):
        assert frame.height == rows[split]
        assert frame.columns == list(COLUMNS)
        for name in COLUMNS:
            expected = sample[name][membership == code].astype(str)
            assert frame[name].to_list() == expected.tolist()
        for label in LABELS:
            least = 15 if dataset_id == "tiny_sample" else 150
            assert min(frame[label].value_counts()["count"]) >= least, (split, label)


def test_the_tiny_sample_has_a_vocabulary():
    columns = drawn(**shipped("tiny_sample")).columns
    train = split_membership(len(columns["uid"])) == 0
    for name in FEATURES:
        _, counts = np.unique(columns[name][train], return_counts=True)
        assert (counts >= DATASETS["tiny_sample"]["min_categr_count"]).mean() > 0.7, name


def test_other_rows_are_prepared_again(tmp_path):
    prepare(dataset_in(tmp_path, "tiny_sample"))
    dataset = dataset_in(tmp_path, "tiny_sample", rows=2000)
    prepare(dataset)
    assert {split: frame.height for split, frame in read_splits(dataset).items()} == {
        "train": 1620,
        "valid": 180,
        "test": 200,
    }


def test_a_real_file_is_never_overwritten(tmp_path):
    write_tiktok(tmp_path / "raw", 20)
    real = (tmp_path / "raw" / "final_track1_train.txt").read_bytes()
    with pytest.raises(DataError, match="was not made here"):
        prepare(dataset_in(tmp_path, "tiny_sample"))
    assert (tmp_path / "raw" / "final_track1_train.txt").read_bytes() == real


def test_synthetic_data_does_not_pass_for_the_official_file(tmp_path):
    prepare(dataset_in(tmp_path, "tiny_sample"))
    dataset = dataset_in(tmp_path, "tiktok")
    with pytest.raises(DataError, match="is synthetic"):
        prepare(dataset)


def test_a_raw_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "raw").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="prepare.raw_dir: the folder .* cannot be written"):
        prepare(dataset_in(tmp_path, "tiny_sample"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("rows", 999),
        ("rows", 1e6),
        ("rows", True),
        ("rows", 10**7 + 1),
        ("rows", 10**30),
        pytest.param("seed", 1 << 20_000, id="a seed of thousands of digits"),
        ("seed", -1),
        ("finish_rate", 0),
        ("like_rate", "1 %"),
        ("like_rate", 1.0),
    ],
)
def test_options_are_checked(tmp_path, option, value):
    with pytest.raises(ConfigError, match=f"prepare.{option}: must be"):
        prepare(dataset_in(tmp_path, "tiny_sample", **{option: value}))


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / "final_track1_train.txt.tmp-7-0123abcd").mkdir()
    path = tiktok_sample.write_raw(tmp_path, drawn(rows=1000).columns)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["SYNTHETIC.txt", path.name])
