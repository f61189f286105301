"""The cache holds what FuxiCTR's own processor says, row by row."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from data_helpers import (
    SPLITS,
    assert_same,
    cached,
    feature,
    fuxictr_says,
    label,
    with_labels,
    write_dataset,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuxictr_stem.data import open_cache
from fuxictr_stem.data.build import build
from fuxictr_stem.data.cache import Cache
from fuxictr_stem.data.columns import plan_columns
from fuxictr_stem.data.files import find_files
from fuxictr_stem.data.source import open_source
from fuxictr_stem.data.vocabulary import integer_type
from fuxictr_stem.errors import ConfigError, DataError

# None is a missing value; the later splits have values that train has not.
COLUMNS = {
    "cat": [["b", "a", None, "a", "c", "b"], ["a", None, "zz", "", "c", "B"], ["new", "a"]],
    "num_id": [[7, -3, None, 7, 900, 7], [7, 8, None, -3, 900, 1], [2**40, 7]],
    "seq": [
        ["a^b", "", None, "b^^c^d", "a", "d^b"],
        ["zz^a^b^c^d^e", "^", "a", None, "b^zz", ""],
        ["a^b^c^d^e^f^g", "c"],
    ],
    "num": [[1.5, None, -2.0, 3.0, 0.25, 9.0], [1e6, None, 0.0, 3.5, -0.5, 2.0], [None, 4.0]],
    "group": [["u", "v", "u", None, "w", "u"], ["v", "q", None, "r", "u", "u"], ["only", "w"]],
}


def frames(*names, labels=("y",)):
    return {
        split: with_labels({name: COLUMNS[name][i] for name in names}, labels)
        for i, split in enumerate(SPLITS)
    }


def built(dataset, folder, block_rows):
    """Build with a small block size; return the arrays of all splits."""
    folder = Path(folder)
    folder.mkdir()
    build(plan_columns(dataset), find_files(dataset), "x", folder, block_rows)
    rows = {split: 0 for split in SPLITS if dataset[f"{split}_data"]}
    return cached(Cache("small", folder, rows, {}))


CASES = {
    "categorical str": [feature("cat")],
    "categorical with a fill value": [feature("cat", fill_na="a")],
    "categorical with its own minimum": [feature("cat", min_categr_count=2)],
    "categorical int": [feature("num_id", dtype="int")],
    "categorical int, missing is no token": [feature("num_id", dtype="int", fill_na=-3)],
    "categorical float": [feature("num", dtype="float")],
    "numeric raw": [feature("num", "numeric", "float")],
    "numeric int": [feature("num_id", "numeric", "int", fill_na=5)],
    "numeric filled": [feature("num", "numeric", "float", fill_na=-1.5)],
    "numeric standard": [feature("num", "numeric", "float", normalizer="StandardScaler")],
    "numeric min-max": [feature("num", "numeric", "float", normalizer="MinMaxScaler")],
    "sequence": [feature("seq", "sequence")],
    "sequence pre": [feature("seq", "sequence", padding="pre")],
    "sequence cut": [feature("seq", "sequence", max_len=3)],
    "sequence cut pre": [feature("seq", "sequence", max_len=3, padding="pre")],
    "sequence of one": [feature("seq", "sequence", max_len=1)],
    "sequence longer than any": [feature("seq", "sequence", max_len=20, padding="pre")],
    "sequence with a missing token": [feature("seq", "sequence", fill_na="b")],
    "sequence filled with a number": [feature("seq", "sequence", fill_na=0)],
    "shared cat + seq": [feature("cat"), feature("seq", "sequence", share_embedding="cat")],
    "shared seq + cat": [feature("seq", "sequence"), feature("cat", share_embedding="seq")],
    "shared cat + cat": [feature("cat"), feature("group", share_embedding="cat")],
    "shared by three": [
        feature("cat"),
        feature("group", share_embedding="cat"),
        feature("seq", "sequence", share_embedding="cat", fill_na="c", padding="pre"),
    ],
    "shared, a token missing in one only": [
        feature("seq", "sequence", fill_na="zz"),
        feature("cat", share_embedding="seq"),
    ],
    "shared without tokens of its own": [
        feature("cat"),
        feature("group", share_embedding="cat", remap=False),
    ],
    "meta": [feature("cat"), feature("group", "meta")],
    "meta int": [feature("cat"), feature("num_id", "meta", "int")],
    "meta raw": [feature("cat"), feature("num_id", "meta", "int", remap=False)],
    "meta raw, filled": [
        feature("cat"),
        feature("num_id", "meta", "int", remap=False, fill_na=-70000),
    ],
    "copy": [feature("cat"), feature("twin", "meta", preprocess="copy_from(cat)")],
    "copy first": [feature("twin", preprocess="copy_from(cat)"), feature("cat", fill_na="b")],
    "copy last": [
        feature("cat", fill_na="b"),
        feature("twin", preprocess="copy_from(cat)", fill_na="c"),
    ],
    "copy of an inactive column": [
        feature("twin", preprocess="copy_from(cat)"),
        feature("num_id", dtype="int"),
        feature("cat", active=False, fill_na="a"),
    ],
    "copy of a sequence": [
        feature("seq", "sequence", max_len=2),
        feature("twin", "sequence", preprocess="copy_from(seq)", padding="pre"),
    ],
    "all": [
        feature("cat", min_categr_count=2),
        feature("num_id", dtype="int"),
        feature("seq", "sequence", share_embedding="cat"),
        feature("num", "numeric", "float", normalizer="StandardScaler"),
        feature("group", "meta"),
    ],
}


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
@pytest.mark.parametrize("case", CASES)
def test_cache_is_fuxictrs_transform(tmp_path, case, data_format):
    dataset = write_dataset(tmp_path, frames(*COLUMNS), CASES[case], data_format=data_format)
    said, processor = fuxictr_says(dataset, tmp_path / "oracle")
    cache = open_cache(dataset)
    assert_same(cached(cache), said)
    ours, theirs = cache.folder, Path(processor.data_dir)
    for name in ("feature_map.json", "feature_vocab.json"):
        assert json.loads((ours / name).read_text()) == json.loads((theirs / name).read_text())


@pytest.mark.parametrize("block_rows", [1, 2, 5])
def test_blocks_join_in_order(tmp_path, block_rows):
    dataset = write_dataset(tmp_path, frames(*COLUMNS), CASES["all"])
    said, _ = fuxictr_says(dataset, tmp_path / "oracle")
    assert_same(built(dataset, tmp_path / "blocks", block_rows), said)


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_many_blocks_of_parts(tmp_path, data_format):
    rng = np.random.default_rng(5)
    rows = 30_000
    parts = with_labels(
        {
            "cat": rng.zipf(1.3, rows) % 5000,
            "num": rng.integers(-1000, 1000, rows) / 4,
            "seq": [f"{a},{b}" for a, b in rng.integers(0, 300, (rows, 2))],
        }
    ).with_columns(pl.col("cat").cast(pl.String))
    features = [
        feature("cat", min_categr_count=3),
        feature("num", "numeric", "float"),
        feature("seq", "sequence", splitter=",", padding="pre"),
    ]
    small = {"train": parts[:100], "valid": parts[100:300], "test": parts[:9]}
    dataset = write_dataset(tmp_path, small, features, data_format=data_format)
    folder = tmp_path / "parts"
    folder.mkdir()
    for i, start in enumerate(range(0, rows, 7000)):
        part = parts[start : start + 7000]
        getattr(part, f"write_{data_format}")(folder / f"part-{i}.{data_format}")
    dataset["train_data"] = str(folder)
    said, _ = fuxictr_says(dataset, tmp_path / "oracle")
    assert_same(built(dataset, tmp_path / "blocks", 1000), said)


def test_real_impressions(tmp_path, stem_data):
    folder = stem_data / "kuairand_pure"
    skipped = {"date", "hourmin", "time_ms", "is_like", "long_view", "watch_ratio", "tag"}
    shown = pl.read_parquet(folder / "valid.parquet", n_rows=20_000)
    later = pl.read_parquet(folder / "test.parquet", n_rows=5_000)
    names = [name for name in shown.columns if name not in skipped]
    features = [
        *(feature(name) for name in names),
        feature("tag", "sequence", splitter=","),
        feature("watch_ratio", "numeric", "float"),
        feature("group", "meta", preprocess="copy_from(user_id)"),
    ]
    written = {"train": shown[:15_000], "valid": shown[15_000:], "test": later}
    labels = [label("long_view"), label("is_like")]
    dataset = write_dataset(tmp_path, written, features, labels, min_categr_count=10)
    said, _ = fuxictr_says(dataset, tmp_path / "oracle")
    assert_same(built(dataset, tmp_path / "blocks", 1 << 12), said)


TOKENS = st.sampled_from(
    [
        "a",
        "b",
        "c",
        "A",
        "",
        " ",
        "^",
        "^^",
        "a^b",
        "é",
        "日本",
        "__PAD__",
        "__OOV__",
        "1",
        "01",
        "1.0",
    ]
)
TEXT = st.none() | TOKENS | st.text("ab^ ,\"'\n", max_size=4)
NUMBER = st.none() | st.floats(-1e6, 1e6, width=32)
INTEGER = st.none() | st.integers(-5, 5) | st.integers(-(2**62), 2**62)
ROW = st.tuples(TEXT, TEXT, INTEGER, NUMBER, TEXT)


@given(
    splits=st.tuples(*[st.lists(ROW, min_size=1, max_size=8)] * 3),
    padding=st.sampled_from(["pre", "post"]),
    max_len=st.integers(0, 4),
    least=st.integers(1, 2),
    share=st.booleans(),
    fill=st.sampled_from([None, "a", "^"]),
    scaler=st.sampled_from([None, "StandardScaler", "MinMaxScaler"]),
    data_format=st.sampled_from(["csv", "parquet"]),
    block_rows=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_small_frame(
    tmp_path_factory,
    splits,
    padding,
    max_len,
    least,
    share,
    fill,
    scaler,
    data_format,
    block_rows,
):
    tmp_path = tmp_path_factory.mktemp("any")
    names = ["cat", "seq", "num_id", "num", "group"]
    types = [pl.String, pl.String, pl.Int64, pl.Float64, pl.String]
    # Two rows of train keep every vocabulary from being empty.
    sure = ("b", "b", 4, 1.0, "b")
    written = {}
    for split, rows in zip(SPLITS, splits, strict=True):
        rows = [*rows, sure, sure] if split == "train" else rows
        frame = pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")
        written[split] = frame.with_columns(y=pl.Series(np.arange(frame.height) % 2 * 1.0))
    features = [
        feature("cat", **({} if fill is None else {"fill_na": fill})),
        feature("seq", "sequence", padding=padding, max_len=max_len),
        feature("num_id", dtype="int"),
        feature("num", "numeric", "float"),
        feature("group", "meta"),
    ]
    if share:
        features[1]["share_embedding"] = "cat"
    if scaler:
        features[3]["normalizer"] = scaler
    dataset = write_dataset(
        tmp_path, written, features, data_format=data_format, min_categr_count=least
    )
    said, _ = fuxictr_says(dataset, tmp_path / "oracle")
    assert_same(built(dataset, tmp_path / "blocks", block_rows), said)


def test_statistics_are_fuxictrs(tmp_path):
    # More rows than a block is counted at a time, and merges between.
    from fuxictr.preprocess import FeatureProcessor

    from fuxictr_stem.data import counting
    from fuxictr_stem.data.fit import Processor

    dataset = write_dataset(tmp_path, frames(*COLUMNS), CASES["all"])
    plan = plan_columns(dataset)
    source = open_source(plan, find_files(dataset))
    processor = Processor(plan, tmp_path)
    train = processor.preprocess(source.frame("train"))
    meta = pl.concat([processor.preprocess(source.frame(s)).select("group") for s in SPLITS])
    theirs = FeatureProcessor._collect_statistics(processor, train, meta)
    assert processor._collect_statistics(train, meta) == theirs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_MERGE_ROWS", 2)
        blocks = counting.count_tokens(train, {"cat": None, "seq": "^"}, block_rows=1)
        many = counting.TokenCounts()
        for _ in range(20):
            many.add(pl.Series(["a", "b", "a"]))
            assert len(many._blocks) <= 3, "counts are merged on the way"
        assert many.counts() == {"a": 40, "b": 20}
    for name, found in blocks.items():
        assert found.counts() == theirs[name]["value_counts"]
    assert blocks["seq"].longest == theirs["seq"]["max_len"] == 4


def pretrained(path, keys, width=3):
    values = np.arange(len(keys) * width, dtype=np.float32).reshape(-1, width)
    if path.suffix == ".npz":
        np.savez(path, key=np.array(keys), value=values)
    else:
        pl.DataFrame({"key": keys, "value": values.tolist()}).write_parquet(path)
    return str(path)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_pretrained_expands_the_vocabulary(tmp_path, suffix):
    file = pretrained(tmp_path / f"vectors{suffix}", ["a", "zz", "new", "never"])
    features = [
        feature("cat", pretrained_emb=file, pretrain_dim=3, min_categr_count=2),
        feature("seq", "sequence", share_embedding="cat"),
    ]
    dataset = write_dataset(tmp_path, frames("cat", "seq"), features)
    said, processor = fuxictr_says(dataset, tmp_path / "oracle")
    cache = open_cache(dataset)
    assert_same(cached(cache), said)
    vocabulary = json.loads((cache.folder / "feature_vocab.json").read_text())
    theirs = Path(processor.data_dir) / "feature_vocab.json"
    assert vocabulary == json.loads(theirs.read_text())
    assert {"zz", "new", "never"} <= set(vocabulary["cat"])
    copied = cache.folder / f"pretrained_cat{suffix}"
    assert copied.read_bytes() == Path(file).read_bytes()


def test_pretrained_numbers(tmp_path):
    # FuxiCTR itself cannot write the vocabulary of integer keys.
    file = pretrained(tmp_path / "vectors.npz", [7, 8, 2**40])
    features = [feature("num_id", dtype="int", pretrained_emb=file, pretrain_dim=3)]
    dataset = write_dataset(tmp_path, frames("num_id"), features)
    cache = open_cache(dataset)
    vocabulary = json.loads((cache.folder / "feature_vocab.json").read_text())["num_id"]
    assert {"7", "8", str(2**40)} <= set(vocabulary)
    # A missing number is FuxiCTR's 0, a token like any other.
    for split, numbers in zip(SPLITS, COLUMNS["num_id"], strict=True):
        wanted = [vocabulary.get(str(n or 0), vocabulary["__OOV__"]) for n in numbers]
        assert cached(cache)[split]["num_id"].tolist() == wanted


VECTORS = np.zeros((1, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"keys": [1], "value": VECTORS}, "needs the arrays 'key' and 'value', holds keys, value"),
        ({"key": ["a"], "value": VECTORS}, "cannot be read as .npz with keys of dtype int"),
        ({"key": np.array([{}], object), "value": VECTORS}, "cannot be read as .npz"),
        (None, "cannot be read as .npz"),
        ({"key": [1, 2], "value": VECTORS}, r"each of its 2 keys, but 'value' has shape \(1, 3\)"),
        ({"key": [1], "value": np.zeros(1)}, r"'value' has shape \(1,\)"),
        ({"key": [1], "value": np.zeros((1, 4))}, r"pretrain_dim 3 .* shape \(1, 4\)"),
        ({"key": [1], "value": VECTORS * np.nan}, "NaN or infinite"),
        ({"key": [1], "value": np.array([["a", "b", "c"]])}, "vectors of numbers"),
    ],
)
def test_pretrained_file_is_checked(tmp_path, content, message):
    path = tmp_path / "vectors.npz"
    path.write_bytes(b"no archive") if content is None else np.savez(path, **content)
    features = [feature("num_id", dtype="int", pretrained_emb=str(path), pretrain_dim=3)]
    dataset = write_dataset(tmp_path, frames("num_id"), features)
    with pytest.raises(DataError, match=message):
        open_cache(dataset)


@pytest.mark.parametrize(("keys", "level"), [([7, 8], "INFO"), ([555], "WARNING")])
def test_the_share_of_tokens_with_a_vector_is_told(tmp_path, caplog, keys, level):
    file = pretrained(tmp_path / "vectors.npz", keys)
    features = [feature("num_id", dtype="int", pretrained_emb=file, pretrain_dim=3)]
    caplog.set_level("INFO", "fuxictr_stem")
    open_cache(write_dataset(tmp_path, frames("num_id"), features))
    told = [r for r in caplog.records if "have a pretrained vector" in r.getMessage()]
    assert [r.levelname for r in told] == [level]
    in_train = {n or 0 for n in COLUMNS["num_id"][0]}
    found = len(in_train & set(keys))
    assert f": {found} of {len(in_train)} tokens" in told[0].getMessage()


def parquet_like(tmp_path, features, change):
    """Return the caches of the same values as CSV text and as other parquet types."""
    names = [col["name"] for col in features]
    text = frames(*names)
    csv = write_dataset(tmp_path / "csv", text, features)
    changed = {split: frame.with_columns(*change) for split, frame in text.items()}
    parquet = write_dataset(tmp_path / "parquet", changed, features, data_format="parquet")
    return cached(open_cache(csv)), cached(open_cache(parquet))


def test_parquet_numbers_declared_str_are_their_text(tmp_path):
    csv, parquet = parquet_like(tmp_path, [feature("num_id")], [pl.col("num_id")])
    assert_same(parquet, csv)


@pytest.mark.parametrize(
    "dtype", [pl.Categorical, pl.String, pl.Enum(["u", "v", "w", "q", "r", "only"])]
)
def test_parquet_text_types(tmp_path, dtype):
    csv, parquet = parquet_like(tmp_path, [feature("group")], [pl.col("group").cast(dtype)])
    assert_same(parquet, csv)


def test_parquet_text_declared_numbers(tmp_path):
    features = [feature("num_id", dtype="int"), feature("num", "numeric", "float")]
    change = [pl.col("num_id", "num").cast(pl.String), pl.col("y").cast(pl.String)]
    csv, parquet = parquet_like(tmp_path, features, change)
    assert_same(parquet, csv)


def test_parquet_lists_are_sequences(tmp_path):
    features = [feature("seq", "sequence", splitter="|", max_len=4, padding="pre")]
    lists = {
        s: frame.with_columns(pl.col("seq").str.split("^")) for s, frame in frames("seq").items()
    }
    text = {s: frame.with_columns(pl.col("seq").list.join("|")) for s, frame in lists.items()}
    csv = write_dataset(tmp_path / "csv", text, features)
    parquet = write_dataset(tmp_path / "parquet", lists, features, data_format="parquet")
    assert_same(cached(open_cache(parquet)), cached(open_cache(csv)))


def test_lists_copied_with_another_splitter(tmp_path):
    train = with_labels({"seq": [["a", "b"], ["b"], ["b", "a"]]})
    features = [
        feature("seq", "sequence", splitter="|"),
        feature("twin", "sequence", preprocess="copy_from(seq)"),
    ]
    both = {"train": train, "valid": train}
    found = cached(open_cache(write_dataset(tmp_path, both, features, data_format="parquet")))
    assert found["valid"]["twin"].tolist() == found["valid"]["seq"].tolist()
    assert found["valid"]["seq"].tolist() == [[2, 1], [1, 0], [1, 2]]


def test_parquet_lists_of_numbers(tmp_path):
    lists = [[1, 2], [], None, [3, None, 1], [2], [1]]
    train = with_labels(
        {"seq": lists, "fixed": pl.Series([[1, 2]] * 6, dtype=pl.Array(pl.Int32, 2))}
    )
    features = [feature("seq", "sequence"), feature("fixed", "sequence")]
    dataset = write_dataset(
        tmp_path, {"train": train, "valid": train}, features, data_format="parquet"
    )
    found = cached(open_cache(dataset))["valid"]
    # By count, then token: 1, 2, 3.
    assert found["seq"].tolist() == [[1, 2], [0, 0], [0, 0], [3, 1], [2, 0], [1, 0]]
    assert found["fixed"].tolist() == [[1, 2]] * 6


def test_embedding_vectors(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(7, 4))
    train = with_labels({"cat": list("abcabca"), "vec": vectors.tolist()})
    features = [feature("cat"), feature("vec", "embedding", "float", pretrain_dim=4)]
    for dtype in (pl.List(pl.Float64), pl.Array(pl.Float32, 4)):
        typed = train.with_columns(pl.col("vec").cast(dtype))
        folder = tmp_path / str(dtype)[:4]
        both = {"train": typed, "valid": typed[2:]}
        dataset = write_dataset(folder, both, features, data_format="parquet")
        found = built(dataset, folder / "blocks", 3)
        np.testing.assert_array_equal(found["train"]["vec"], vectors.astype(np.float32))
        np.testing.assert_array_equal(found["valid"]["vec"], vectors[2:].astype(np.float32))
        assert open_cache(dataset).feature_map({}).features["vec"]["pretrain_dim"] == 4


def test_copy_under_another_dtype(tmp_path):
    # As in FuxiCTR's shipped configs: the group is the raw integer of a column declared str.
    features = [
        feature("user"),
        feature("group", "meta", "int", remap=False, preprocess="copy_from(user)"),
        feature("size", "numeric", "float", preprocess="copy_from(user)"),
    ]
    users = {"train": [300, 5, 300, None], "valid": [5, 70000, 5, 9], "test": [1, 2]}
    written = {split: with_labels({"user": values}) for split, values in users.items()}
    dataset = write_dataset(tmp_path, written, features)
    found = cached(open_cache(dataset))
    for split, values in users.items():
        values = [value or 0 for value in values]
        assert found[split]["group"].tolist() == values
        assert found[split]["size"].tolist() == values
        assert found[split]["group"].dtype == np.int32
    assert found["valid"]["user"].tolist() == [2, 3, 2, 3]


def test_copy_of_text_as_a_number_is_refused(tmp_path):
    features = [feature("cat"), feature("size", "numeric", "float", preprocess="copy_from(cat)")]
    dataset = write_dataset(tmp_path, frames("cat"), features)
    with pytest.raises(DataError, match=r"'size' \(read from 'cat'\) is not a number .float. in 5"):
        open_cache(dataset)


@pytest.mark.parametrize("active", [True, False])
def test_copy_of_a_copy(tmp_path, active):
    features = [
        feature("third", preprocess="copy_from(second)"),
        feature("second", preprocess="copy_from(cat)", active=active),
    ]
    dataset = write_dataset(tmp_path, frames("cat"), features)
    direct = write_dataset(tmp_path / "direct", frames("cat"), [feature("cat")])
    found, wanted = cached(open_cache(dataset)), cached(open_cache(direct))
    for split in SPLITS:
        assert ("second" in found[split]) == active
        for name in set(found[split]) - {"y"}:
            assert found[split][name].tolist() == wanted[split]["cat"].tolist()


def test_raw_ids_that_are_text(tmp_path):
    written = {
        "train": with_labels({"g": ["12", None, "-4"]}),
        "valid": with_labels({"g": ["3"] * 2}),
    }
    cat = feature("cat", preprocess="copy_from(g)")
    dataset = write_dataset(tmp_path, written, [cat, feature("g", "meta", remap=False)])
    with pytest.raises(DataError, match=r"column 'g' is missing in 1 row of train.*row 2"):
        open_cache(dataset)
    dataset["feature_cols"][1]["fill_na"] = "70000"
    assert cached(open_cache(dataset))["train"]["g"].tolist() == [12, 70000, -4]
    dataset["feature_cols"][1]["fill_na"] = "none"
    with pytest.raises(ConfigError, match="fill_na must be a whole number.*found 'none'"):
        open_cache(dataset)


def test_labels_keep_their_values(tmp_path):
    written = {
        split: pl.DataFrame(
            {"cat": ["a", "b", "a"], "y": [0.0, 1.0, one], "watch": [0.5, 3.25, -1e3]}
        )
        for split, one in zip(SPLITS, (1.0, 0.0, 1.0), strict=True)
    }
    labels = [label(), label("watch"), label("again", preprocess="copy_from(y)")]
    dataset = write_dataset(tmp_path, written, [feature("cat")], labels)
    cache = open_cache(dataset)
    for split, columns in cached(cache).items():
        assert columns["y"].dtype == np.uint8
        assert columns["watch"].dtype == np.float32
        assert columns["y"].tolist() == columns["again"].tolist() == written[split]["y"].to_list()
        assert columns["watch"].tolist() == written[split]["watch"].to_list()
    stats = cache.label_stats["train"]
    assert stats["y"] == {
        **{"rows": 3, "nulls": 0, "nonfinite": 0, "min": 0.0, "max": 1.0, "sum": 2.0},
        **{"positives": 2, "other": 0, "example": None},
    }
    assert (stats["watch"]["other"], stats["watch"]["example"]) == (3, 0.5)
    assert (stats["watch"]["min"], stats["watch"]["max"]) == (-1000.0, 3.25)


def test_a_missing_label_is_filled_only_on_request(tmp_path):
    written = {s: pl.DataFrame({"cat": ["a", "b", "a"], "y": [0.0, None, 1.0]}) for s in SPLITS}
    dataset = write_dataset(tmp_path, written, [feature("cat")], [label(fill_na=1)])
    assert cached(open_cache(dataset))["test"]["y"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        *((0, 0, np.uint8), (0, 255, np.uint8), (0, 256, np.uint16), (0, 65535, np.uint16)),
        *((0, 65536, np.int32), (-1, 1, np.int32), (0, 2**31 - 1, np.int32)),
        *((0, 2**31, np.int64), (-(2**31) - 1, 0, np.int64)),
    ],
)
def test_ids_take_the_smallest_type(low, high, dtype):
    assert integer_type(low, high) == dtype


@pytest.mark.parametrize("size", [253, 254, 65533, 65534])
def test_ids_at_the_edge_of_a_type(tmp_path, size):
    # With padding and the unknown token, the largest id is size + 1.
    tokens = np.arange(size).astype(str)
    unseen = pl.DataFrame({"cat": ["x", "0", "1"], "y": [0.0, 1.0, 1.0]})
    train = with_labels({"cat": tokens})
    dataset = write_dataset(tmp_path, {"train": train, "valid": unseen}, [feature("cat")])
    found = cached(open_cache(dataset))
    assert sorted(found["train"]["cat"].tolist()) == list(range(1, size + 1))
    assert found["valid"]["cat"][0] == size + 1
    assert found["valid"]["cat"].dtype == integer_type(0, size + 1)


def test_empty_vocabularies_are_named(tmp_path):
    written = {
        split: frame.with_columns(empty=pl.lit("")) for split, frame in frames("cat", "seq").items()
    }
    features = [
        feature("cat", min_categr_count=3),
        feature("filled", fill_na="a", min_categr_count=3, preprocess="copy_from(cat)"),
        feature("seq", "sequence"),
        feature("empty"),
        feature("nobody", "meta", preprocess="copy_from(empty)"),
    ]
    dataset = write_dataset(tmp_path, written, features, min_categr_count=9)
    features[3]["min_categr_count"] = 1
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    message = str(caught.value)
    assert "column 'cat' would have an empty vocabulary: min_categr_count is 3" in message
    assert "occurs 2 times in train" in message
    assert "column 'filled' would have an empty vocabulary: min_categr_count is 3" in message
    assert "column 'seq' would have an empty vocabulary: min_categr_count is 9" in message
    assert "column 'empty' has no value in train" in message
    assert "column 'nobody' has no value in any split" in message
    assert not list(Path(dataset["data_root"]).rglob("*.h5"))


def test_a_name_with_a_slash_is_refused(tmp_path):
    dataset = write_dataset(tmp_path, frames("cat"), [feature("a/b", preprocess="copy_from(cat)")])
    with pytest.raises(ConfigError, match="column 'a/b': a name without '/'"):
        open_cache(dataset)


def test_overflow_of_a_normalizer_is_refused(tmp_path):
    # Finite in float32 as it is, beyond it after the scaling.
    train = with_labels({"num": [0.0, 1e-30, 2e-30]})
    valid = with_labels({"num": [1e30, 0.0]})
    features = [feature("num", "numeric", "float", normalizer="MinMaxScaler")]
    dataset = write_dataset(tmp_path, {"train": train, "valid": valid}, features)
    with pytest.raises(DataError, match="column 'num': a value is beyond float32 after"):
        open_cache(dataset)
