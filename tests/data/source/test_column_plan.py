"""Which column is read from where, and what FuxiCTR gets."""

import numpy as np
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.errors import ConfigError, DataError
from tests.support.datasets import SPLITS, cached, feature, frames, with_labels, write_dataset
from tests.support.faulty_sources import FEATURES, small


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


def test_a_name_with_a_slash_is_rejected(tmp_path):
    dataset = write_dataset(tmp_path, frames("cat"), [feature("a/b", preprocess="copy_from(cat)")])
    with pytest.raises(ConfigError, match="column 'a/b': h5 files need a name without '/'"):
        open_cache(dataset)


def test_a_copied_column_needs_only_its_source(tmp_path):
    features = [*FEATURES, feature("g", "meta", preprocess="copy_from(cat)")]
    assert open_cache(small(tmp_path, features=features)).rows["train"] == 4
