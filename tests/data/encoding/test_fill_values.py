"""What missing values become, and which real values are the same."""

import re

import pytest

from tests.support.datasets import cached, feature, label
from tests.support.opened_caches import opened, remarks

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


def test_missing_rows_and_real_ones_may_be_in_two_splits(tmp_path):
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
    # From the last column to the first: a copy that is first gets what its source was filled with.
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
