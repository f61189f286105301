"""What is odd about ids and numbers is said by name: unknown, filled, reserved, rounded."""

import numpy as np
import polars as pl
import pytest

from fuxictr_stem.errors import ConfigError, DataError
from tests.support.datasets import cached, feature, label
from tests.support.opened_caches import opened, remarks


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_shares_are_those_of_pandas(tmp_path, data_format):
    """Counted by pandas from what is written; the sequence by token."""
    rng = np.random.default_rng(3)
    sizes = {"train": 500, "valid": 300, "test": 40}
    columns = {}
    for i, (split, rows) in enumerate(sizes.items()):
        numbers = rng.geometric(0.02, rows) + 3 * i
        columns[split] = {
            "text": [f"t{n}" for n in numbers],
            "n": numbers,
            "seq": ["^".join(f"t{n}" for n in rng.geometric(0.05, k % 5)) for k in range(rows)],
        }
    features = [
        feature("text", min_categr_count=3),
        feature("n", dtype="int"),
        feature("seq", "sequence", max_len=3, padding="pre"),
        feature("group", "meta", preprocess="copy_from(text)"),
    ]
    cache = opened(tmp_path, columns, features, data_format)
    train = pl.DataFrame(columns["train"]).to_pandas()
    frequent = train["text"].value_counts().loc[lambda counts: counts >= 3].index
    seen = set(train["seq"].str.split("^").explode()) - {""}
    for split, rows in columns.items():
        frame = pl.DataFrame(rows).to_pandas()
        tokens = frame["seq"].str.split("^").str[-3:].explode()
        tokens = tokens[tokens != ""]
        wanted = {
            "text": 1 - frame["text"].isin(frequent).mean(),
            "n": 1 - frame["n"].isin(train["n"]).mean(),
            "seq": 1 - tokens.isin(seen).mean(),
        }
        assert cache.unknown[split] == pytest.approx(wanted)


def test_what_train_does_not_know_either_is_no_news(tmp_path):
    # Two of three values of train are rare; valid is like train, test is worse.
    columns = {
        "train": {"user": ["a", "a", "b", "c", "d", "e"]},
        "valid": {"user": ["a", "a", "x", "y", "z", "b"]},
        "test": {"user": ["A ", "y", "x", "z"]},
    }
    cache = opened(tmp_path, columns, [feature("user", min_categr_count=2)])
    assert cache.unknown["train"]["user"] == pytest.approx(4 / 6)
    (text,) = remarks(cache)
    assert "100.0 % of the ids of test are unknown, 66.7 % of train's" in text
    assert "such as 'A ', where train has 'a'" in text


@pytest.mark.parametrize(
    ("feature_", "values", "text"),
    [
        (feature("x"), [None] * 4, "100.0 % of the ids of valid are unknown, 0.0 % of train's"),
        (feature("x"), ["__OOV__", "__PAD__"] * 2, "such as '__OOV__'."),
        (feature("x", "sequence"), ["z^y", "y", "", "x^z"], "such as 'z'"),
        (feature("x", "sequence"), ["1.0^2.0"] * 4, "such as '1.0', where train has '1'"),
        (feature("x", dtype="int"), [8, 9, 7, 8], "such as 8."),
        (feature("x", dtype="float"), [8.5, 9, 7, 8], "such as 8.5."),
    ],
)
def test_kinds_of_columns_that_are_mostly_unknown(tmp_path, feature_, values, text):
    dtype = {"int": pl.Int64, "float": pl.Float64}.get(feature_["dtype"], pl.String)
    columns = {
        "train": {"x": pl.Series(["1", "2", "1", "3"]).cast(dtype)},
        "valid": {"x": pl.Series(values, dtype=dtype)},
    }
    (found,) = remarks(opened(tmp_path, columns, [feature_]), "x")
    assert text in found


def test_columns_that_share_a_table_but_no_value(tmp_path):
    columns = {"train": {"user": ["1", "2", "3", "1"], "inviter": ["2.0", None, "x", "3.0"]}}
    features = [feature("user"), feature("inviter", share_embedding="user")]
    cache = opened(tmp_path, columns, features)
    texts = remarks(cache)
    assert any(
        text.startswith("column 'inviter' shares the table of 'user', but in train they have no ")
        for text in texts
    )
    assert (
        "column 'user': 2 values have two ids, such as '2' and '2.0'. Write each number one way."
        in str(sorted(texts))
    )
    columns["train"]["inviter"] = ["2", None, "x", "3"]
    assert not remarks(opened(tmp_path / "right", columns, features))


def test_one_value_in_two_forms_in_one_split(tmp_path):
    columns = {"train": {"user": ["1", "2", "1.0", "4"], "group": ["1", "2", "5.0", "4"]}}
    features = [feature("user"), feature("group", "meta")]
    (text,) = remarks(opened(tmp_path, columns, features))
    assert text.startswith("column 'user': 1 value has two ids, such as '1' and '1.0'.")
    # No file of text has a whole number '1.0'.
    assert "dtype: int" not in text


@pytest.mark.parametrize("token", ["__PAD__", "__OOV__"])
def test_fuxictrs_own_tokens_are_unknown_where_train_has_not_got_them(tmp_path, token):
    columns = {
        "train": {"x": ["a", "b", "a"], "seq": ["a", "b^a", "a"]},
        "valid": {"x": ["a", token, "b"], "seq": [f"a^{token}", token, "b"]},
    }
    features = [feature("x"), feature("seq", "sequence")]
    cache = opened(tmp_path, columns, features)
    found = cached(cache)["valid"]
    assert found["x"].tolist() == [1, 3, 2]
    assert found["seq"].tolist() == [[1, 3], [3, 0], [2, 0]]
    assert cache.unknown["valid"] == {"x": pytest.approx(1 / 3), "seq": 0.5}


@pytest.mark.parametrize("token", ["__PAD__", "__OOV__"])
def test_fuxictrs_own_tokens_as_fill_value_or_key(tmp_path, token):
    columns = {"train": {"x": ["a", "b", None]}}
    for column in (
        feature("x", fill_na=token),
        feature("x", "sequence", fill_na=f"a^{token}"),
    ):
        with pytest.raises(ConfigError, match=f"column 'x': fill_na .*own token {token}"):
            opened(tmp_path, columns, [column])
    path = tmp_path / "vectors.npz"
    np.savez(path, key=np.array(["a", token]), value=np.ones((2, 3)))
    column = feature("x", pretrained_emb=str(path), pretrain_dim=3)
    with pytest.raises(DataError, match=f"its key '{token}' is FuxiCTR's own token"):
        opened(tmp_path, columns, [column])


def test_numbers_that_float32_makes_one(tmp_path):
    times = [1700000000, 1700000001, 1700000002, 1700000128]
    columns = {
        "train": {
            "time": times,
            "seconds": [float(t) + 0.25 for t in times],
            "scaled": times,
            "cents": [0.1, 0.2, 1e6, 16777216.0],
            "watch": [float(t) for t in times],
            "y": [0.0, 1.0, 0.0, 1.0],
        }
    }
    features = [
        feature("time", "numeric", "int"),
        feature("seconds", "numeric", "float"),
        feature("scaled", "numeric", "float", normalizer="StandardScaler"),
        feature("cents", "numeric", "float"),
    ]
    cache = opened(tmp_path, columns, features, labels=[label(), label("watch")])
    stored = np.array(times).astype(np.float32)
    wrong = int((stored.astype(np.int64) != times).sum())
    assert (wrong, len(set(stored.tolist()))) == (2, 2)
    rounded = {r.column for r in cache.remarks if "are rounded" in r.text}
    assert rounded == {"time", "seconds", "watch"}
    (text,) = remarks(cache, "time")
    assert text.startswith(
        f"'time': {3 * wrong} numbers of at least 2^24 are rounded, such as 1700000001 to 1700000000"
    )


@pytest.mark.parametrize("name", ["key", "value"])
def test_pickled_arrays_are_named(tmp_path, name):
    arrays = {"key": np.array(["a", "b"]), "value": np.ones((2, 3))}
    arrays[name] = arrays[name].astype(object)
    path = tmp_path / "vectors.npz"
    np.savez(path, **arrays)
    columns = {"train": {"x": ["a", "b"]}}
    features = [feature("x", pretrained_emb=str(path), pretrain_dim=3)]
    with pytest.raises(DataError, match=f"'{name}' is stored as Python objects \\(pickled\\)"):
        opened(tmp_path, columns, features)
    # The advice works.
    with np.load(path, allow_pickle=True) as file:
        keys, vectors = file["key"], file["value"].astype(float)
    np.savez(path, key=np.array(keys.tolist()), value=np.stack(list(vectors)))
    assert opened(tmp_path, columns, features).rows["train"] == 2


def test_pretrained_keys_that_no_value_is(tmp_path):
    path = tmp_path / "vectors.parquet"
    pl.DataFrame({"key": [1.0, 2.0], "value": [[0.5, 1.0]] * 2}).write_parquet(path)
    columns = {"train": {"x": [2, 1, 2, 3]}}
    column = feature("x", pretrained_emb=str(path), pretrain_dim=2)
    (text,) = remarks(opened(tmp_path, columns, [column], "parquet"))
    assert text == (
        "column 'x': none of its 3 tokens of train has a pretrained vector; train has values such as "
        "'1', the file keys such as '1.0'. Write both in one form."
    )
    # As numbers they are the same.
    assert not remarks(opened(tmp_path / "int", columns, [{**column, "dtype": "int"}], "parquet"))
