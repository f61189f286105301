"""What the cache makes of pretrained files, parquet types and vectors."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.errors import DataError
from tests.support.datasets import (
    COLUMNS,
    SPLITS,
    assert_same,
    built,
    cached,
    feature,
    frames,
    fuxictr_says,
    with_labels,
    write_dataset,
)


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
        ({"key": np.array([{}], object), "value": VECTORS}, "'key' is stored as Python objects"),
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


def with_keys(tmp_path, keys, column="num_id", dtype="int"):
    path = tmp_path / "vectors.npz"
    np.savez(path, key=np.array(keys), value=np.ones((len(keys), 3)))
    features = [feature(column, dtype=dtype, pretrained_emb=str(path), pretrain_dim=3)]
    return write_dataset(tmp_path, frames(column), features)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([0.5, 7.0, 2.2], "2 of its 3 keys are not plain whole numbers .* at position 0: 0.5"),
        ([7, np.nan], "1 of its 2 keys .* position 1: nan"),
        ([7, 1e300], r"1 of its 2 keys .* position 1: 1e\+300"),
        ([7, 2.0**63], r"1 of its 2 keys .* position 1: 9.22\d*e\+18"),
        (np.array([7, 2**63], np.uint64), "1 of its 2 keys .* position 1: 9223372036854775808"),
        (["7", "08"], "1 of its 2 keys .* position 1: '08'"),
        ([7, 8, 7, 8, 7, 9], r"2 of its keys appear more than once, such as 7 \(3 times\)"),
        ([7.0, 7.0], r"1 of its keys appear more than once, such as 7 \(2 times\)"),
        ([[7], [8]], r"a list of keys, but 'key' has shape \(2, 1\)"),
    ],
)
def test_pretrained_keys_that_become_others_are_refused(tmp_path, keys, message):
    with pytest.raises(DataError, match=message):
        open_cache(with_keys(tmp_path, keys))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([7.0, np.nan], "1 of its 2 keys are not text, .* position 1: nan"),
        (["a", "b", "a"], r"1 of its keys appear more than once, such as 'a' \(2 times\)"),
    ],
)
def test_pretrained_keys_of_text_are_checked(tmp_path, keys, message):
    with pytest.raises(DataError, match=message):
        open_cache(with_keys(tmp_path, keys, "cat", "str"))


def test_a_missing_key_of_a_parquet_file_is_refused(tmp_path):
    file = pretrained(tmp_path / "vectors.parquet", ["a", None])
    features = [feature("cat", pretrained_emb=file, pretrain_dim=3)]
    with pytest.raises(DataError, match="1 of its 2 keys are not text, .* position 1: None"):
        open_cache(write_dataset(tmp_path, frames("cat"), features))


@pytest.mark.parametrize(
    ("column", "dtype", "keys"),
    [
        ("num_id", "int", [7.0, -3.0]),
        ("num_id", "int", np.array([7, -3], np.float32)),
        ("num_id", "int", np.array([7, 8], np.uint64)),
        ("num_id", "int", ["7", "-3"]),
        ("num_id", "str", [7, -3]),
        ("cat", "str", np.array([b"a", b"b"])),
        ("num", "float", [1.5, 0.25]),
    ],
)
def test_pretrained_keys_of_another_type_are_themselves(tmp_path, caplog, column, dtype, keys):
    caplog.set_level("INFO", "fuxictr_stem")
    cache = open_cache(with_keys(tmp_path, keys, column, dtype))
    vocabulary = json.loads((cache.folder / "feature_vocab.json").read_text())[column]
    texts = [key.decode() if isinstance(key, bytes) else key for key in np.array(keys).tolist()]
    wanted = {str(int(t) if dtype == "int" else t) for t in texts}
    assert wanted <= set(vocabulary)
    assert "0 of" not in next(t for t in caplog.messages if "have a pretrained vector" in t)


@pytest.mark.parametrize(("keys", "remarks"), [([7, 8], 0), ([555], 1)])
def test_the_share_of_tokens_with_a_vector_is_told(tmp_path, caplog, keys, remarks):
    file = pretrained(tmp_path / "vectors.npz", keys)
    features = [feature("num_id", dtype="int", pretrained_emb=file, pretrain_dim=3)]
    caplog.set_level("INFO", "fuxictr_stem")
    cache = open_cache(write_dataset(tmp_path, frames("num_id"), features))
    told = [r for r in caplog.records if "have a pretrained vector" in r.getMessage()]
    assert [r.levelname for r in told] == ["INFO"]
    assert sum("has a pretrained vector" in r.text for r in cache.remarks) == remarks
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
    assert found["seq"].tolist() == [
        *([1, 2, 0], [0, 0, 0], [0, 0, 0], [3, 0, 1], [2, 0, 0], [1, 0, 0])
    ]
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
