"""What is odd about ids and numbers is said by name: unknown, filled, reserved, rounded."""

import logging
import re

import numpy as np
import polars as pl
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.checks.unknown_ids import report_ids
from fuxictr_stem.errors import ConfigError, DataError
from tests.support.datasets import SPLITS, cached, feature, label, with_labels, write_dataset


def opened(folder, columns, features, data_format="csv", labels=None, **more):
    """Open the cache of splits given by their columns; those not given are train's."""
    frames = {
        split: with_labels(columns.get(split, columns["train"]))
        if labels is None
        else pl.DataFrame(columns.get(split, columns["train"]))
        for split in SPLITS
    }
    return open_cache(write_dataset(folder, frames, features, labels, data_format, **more))


def remarks(cache, column=None):
    return [r.text for r in cache.remarks if column in (None, r.column)]


def test_numbers_written_otherwise_are_unknown(tmp_path, caplog):
    columns = {
        "train": {"user": ["12", "13"] * 4, "item": [f"i{i % 4}" for i in range(8)]},
        "valid": {"user": ["12.0", "13.0"] * 4, "item": ["i0", "i1", "i2", "new"] * 2},
    }
    features = [feature("user"), feature("item")]
    cache = opened(tmp_path, columns, features)
    assert cache.unknown == {
        "train": {"user": 0.0, "item": 0.0},
        "valid": {"user": 1.0, "item": 0.25},
        "test": {"user": 0.0, "item": 0.0},
    }
    (text,) = remarks(cache)
    assert text == (
        "column 'user': 100.0 % of the ids of valid are unknown, 0.0 % of train's, such as '12.0', "
        "where train has '12'; write both in one form."
    )
    # A cached run says the same, of the columns that it uses.
    again = opened(tmp_path, columns, features)
    assert (again.unknown, again.remarks) == (cache.unknown, cache.remarks)
    params = {"embedding_dim": 4, "group_id": None}
    with caplog.at_level(logging.DEBUG):
        assert report_ids(again, params) == cache.unknown
    assert "Unknown ids of train: none" in caplog.text
    assert "Unknown ids of valid: user 100.0 %, item 25.0 %" in caplog.text
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1
    assert text in warned[0]
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        assert report_ids(again, params | {"use_features": ["item"]})["valid"] == {"item": 0.25}
    assert "user" not in caplog.text


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


FILLS = {
    "int": (feature("x", dtype="int"), [0, 0, 5, None, None], 2, "0", 2, "-1"),
    "int, other": (feature("x", dtype="int", fill_na=5), [0, 0, 5, None], 1, "5", 1, "-1"),
    "float": (feature("x", dtype="float"), [0.0, 1.5, None], 1, "0.0", 1, "-1"),
    "numeric": (feature("x", "numeric", "float"), [0.0, 1.5, None], 1, "0.0", 1, "-1"),
    "numeric int": (feature("x", "numeric", "int"), [0, 7, None, None], 2, "0", 1, "-1"),
    "numeric, scaled": (
        feature("x", "numeric", "float", normalizer="StandardScaler"),
        [0.0, 1.5, None],
        *(1, "0.0", 1, "-1"),
    ),
    "text": (feature("x"), ["", "a", None, "b"], 1, "''", 1, "missing"),
    "text, other": (feature("x", fill_na="a"), ["a", "a", None, "b"], 1, "'a'", 2, "missing"),
    "raw group": (feature("x", "meta", "int", remap=False), [0, 3, None], 1, "0", 1, "-1"),
    "group": (feature("x", "meta"), ["", "a", None], 1, "''", 1, "missing"),
    "sequence": (
        feature("x", "sequence", fill_na="b"),
        ["a^b", "b", None, "c"],
        *(1, "'b'", 2, "missing"),
    ),
}


@pytest.mark.parametrize("case", FILLS)
def test_a_fill_value_that_is_a_real_value(tmp_path, case):
    column, values, missing, value, real, advice = FILLS[case]
    cat = feature("cat")
    columns = {"train": {"x": values, "cat": ["a"] * len(values)}}
    # Counted over the three splits, which are alike.
    rows = f"{3 * missing:,} rows without a value become {value}, which {3 * real:,} rows hold as a"
    cache = opened(tmp_path, columns, [column, cat], "parquet")
    (text,) = remarks(cache)
    assert text.startswith(
        f"column 'x': {rows} real value. Set a fill_na that no row holds, such as "
    )
    assert advice in text
    # The advice works.
    if "remap" not in column:
        fill = "missing" if "'missing'" in text.split("such as")[1] else -1
        cured = opened(tmp_path / "cured", columns, [{**column, "fill_na": fill}, cat], "parquet")
        assert not remarks(cured)
        ids = cached(cured)["train"]["x"]
        absent = [value is None for value in values]
        same = [list(ids[i]) if ids.ndim > 1 else ids[i] for i in range(len(ids))]
        held = [one for one, gone in zip(same, absent, strict=True) if not gone]
        assert not any(one in held for one, gone in zip(same, absent, strict=True) if gone)


@pytest.mark.parametrize("case", FILLS)
def test_without_missing_values_a_default_is_no_fill_value(tmp_path, case):
    column, values, *_ = FILLS[case]
    real = [value for value in values if value is not None]
    columns = {"train": {"x": real, "cat": ["a"] * len(real)}}
    texts = remarks(opened(tmp_path, columns, [column, feature("cat")], "parquet"))
    if "fill_na" not in column:
        assert not texts
    else:
        # FuxiCTR takes them for missing: here with a count by hand.
        assert re.match(
            r"column 'x': \d rows? holds? its fill_na .* is taken for missing", texts[0]
        )


def test_missing_values_alone_are_no_clash(tmp_path):
    columns = {"train": {"x": [1, None, 2, None], "seq": ["a", None, "", "a^b"]}}
    features = [feature("x", dtype="int"), feature("seq", "sequence")]
    assert not remarks(opened(tmp_path, columns, features, "parquet"))


def test_missing_rows_and_real_ones_may_stand_in_two_splits(tmp_path):
    columns = {"train": {"x": [0, 1, 2, 1]}, "valid": {"x": [1, None, 2, 1]}}
    (text,) = remarks(opened(tmp_path, columns, [feature("x", dtype="int")]))
    assert "1 row without a value becomes 0, which 2 rows hold as a real value" in text


def test_a_label_whose_fill_value_is_real(tmp_path):
    columns = {"train": {"x": ["a", "b", "a", "b"], "y": [0.0, 1.0, None, 0.0]}}
    cache = opened(tmp_path, columns, [feature("x")], labels=[label(fill_na=0)])
    (text,) = remarks(cache)
    assert text.startswith(
        "label 'y': 3 rows without a value become 0, which 6 rows hold as a real"
    )
    assert "Declare missing: nan instead of fill_na" in text


@pytest.mark.parametrize("twin_first", [True, False])
def test_a_copy_is_filled_as_fuxictr_fills_it(tmp_path, twin_first):
    # From the last column to the first: a copy that stands first gets what its source was filled with.
    both = [
        feature("twin", preprocess="copy_from(x)", fill_na="t"),
        feature("x", fill_na="s"),
    ]
    both = both if twin_first else both[::-1]
    columns = {"train": {"x": ["s", "t", "t", None, "u"]}}
    texts = remarks(opened(tmp_path, columns, both), "twin")
    assert len(texts) == 1
    wanted = "'s', which 3 rows" if twin_first else "'t', which 6 rows"
    assert wanted in texts[0]


@pytest.mark.parametrize("token", ["__PAD__", "__OOV__"])
@pytest.mark.parametrize(
    "columns",
    [
        [feature("x")],
        [feature("x", "meta")],
        [feature("x", "sequence")],
        [feature("cat"), feature("x", share_embedding="cat")],
        [feature("twin", preprocess="copy_from(x)"), feature("x", active=False)],
    ],
)
@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_fuxictrs_own_tokens_are_rejected(tmp_path, columns, token, data_format):
    values = ["a", "b", f"{token}^a" if columns[-1]["type"] == "sequence" else token, "b"]
    frames = dict.fromkeys(SPLITS, with_labels({"x": values, "cat": ["a", "b", "b", "b"]}))
    dataset = write_dataset(
        tmp_path,
        frames,
        [*columns, feature("cat2", preprocess="copy_from(cat)")],
        None,
        data_format,
    )
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    times = "3 times" if columns[0]["type"] == "meta" else "once"
    assert f"column 'x' holds '{token}' {times}; first in {tmp_path}" in str(caught.value)
    assert f"train.{data_format}, row 3. FuxiCTR's vocabularies reserve" in str(caught.value)


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


def test_nan_in_a_column_of_whole_numbers(tmp_path):
    values = [1.0, float("nan"), 3.0, 1.0]
    for i, column in enumerate((feature("x", dtype="int"), feature("x", "numeric", "int"))):
        features = [column, feature("cat")]
        columns = {"train": {"x": values, "cat": ["a", "b"] * 2}}
        with pytest.raises(DataError) as caught:
            opened(tmp_path / str(i), columns, features, "parquet")
        text = str(caught.value)
        assert "column 'x' is NaN in 1 row of train; first in" in text
        assert "row 2, value nan" in text
        assert "dtype: str" not in text
        # The advice works, in both of its forms.
        frame = pl.DataFrame(columns["train"])
        for cured in (
            frame["x"].fill_nan(None),
            pl.from_pandas(frame.to_pandas()["x"].astype("Int64")),
        ):
            assert cured.null_count() == 1
            fixed = {"train": {**columns["train"], "x": cured}}
            cache = opened(tmp_path / f"{i}{cured.dtype}", fixed, features, "parquet")
            found = cached(cache)["train"]["x"].tolist()
            # Missing is 0: the token before 1 and 3, or the number.
            assert found == ([2, 1, 3, 2] if column["type"] == "categorical" else [1, 0, 3, 1])


def test_a_broken_number_in_a_numeric_column(tmp_path):
    columns = {"train": {"x": [1.0, 2.5], "z": ["1", "two"], "cat": ["a", "b"]}}
    features = [feature("x", "numeric", "int"), feature("z", "numeric", "float"), feature("cat")]
    with pytest.raises(DataError) as caught:
        opened(tmp_path, columns, features)
    # `dtype: str` would be rejected: a number is no text.
    assert "Fix the value, or declare dtype: float." in str(caught.value)
    assert "value 'two'. Fix the value.\n" in str(caught.value)
    assert "dtype: str" not in str(caught.value)


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


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["categorical", "meta"])
def test_ids_that_a_float_cannot_tell_apart(tmp_path, kind, data_format):
    values = [2**53, 2**53 + 1, None, 5]
    assert float(values[0]) == float(values[1])
    columns = {"train": {"x": values, "cat": ["a", "b"] * 2}}
    features = [feature("cat"), feature("x", kind, "float")]
    with pytest.raises(DataError) as caught:
        opened(tmp_path, columns, features, data_format)
    text = (
        "column 'x' is a float, in which neighbouring ids become equal in 2 rows of train; first in"
    )
    assert text in str(caught.value)
    assert "Declare dtype: int or str." in str(caught.value)
    features[1]["dtype"] = "int"
    ids = cached(opened(tmp_path / "cured", columns, features, data_format))["train"]["x"]
    assert len(set(ids.tolist())) == 4


def test_ids_that_a_float32_cannot_tell_apart(tmp_path):
    columns = {"train": {"x": pl.Series([2.0**24, 5.0], dtype=pl.Float32)}}
    with pytest.raises(DataError, match="neighbouring ids become equal in 1 row of train"):
        opened(tmp_path, columns, [feature("x", dtype="float")], "parquet")
    columns["train"]["x"] = columns["train"]["x"].cast(pl.Float64)
    assert opened(tmp_path / "64", columns, [feature("x", dtype="float")], "parquet").rows


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
