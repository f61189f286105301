"""The configs that `fit` writes are read back as they are meant, comments or not."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fuxictr_stem.frames import config_files
from fuxictr_stem.frames.guess_columns import Guess, Guesses

TEXT = st.text(max_size=9) | st.sampled_from(["1e-3", "yes", "a: b", "# no", "- x", "\x85", "null"])
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(PLAIN)
def test_a_value_in_one_line_is_read_back(value):
    text = config_files.inline(value)
    assert len(text.splitlines()) == 1
    assert yaml.safe_load(text) == value


@given(value=PLAIN, comment=st.text())
def test_files_are_read_back_whatever_the_comments(tmp_path_factory, value, comment):
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    first, second = ([("a", 1, comment), ("b", value, ""), ("c", n, comment)] for n in (3, 4))
    config_files.write_experiments(path, [f"# {comment}"], {"x": first, "y": second})
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert written.pop(".shared") == {"a": 1, "b": value}
    assert written == {"x": {"a": 1, "b": value, "c": 3}, "y": {"a": 1, "b": value, "c": 4}}
    columns = Guesses([Guess({"name": "f", "fill_na": value}, comment)], [Guess({}, "")], [])
    config_files.write_dataset(path, [f"# {comment}"], "data", first, columns)
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["data"] == {
        **{"a": 1, "b": value, "c": 3},
        **{"feature_cols": [{"name": "f", "fill_na": value}], "label_col": [{}]},
    }


def test_numbers_of_numpy_tuples_and_paths_are_plain():
    settings = {
        "rate": np.float32(0.5),
        "units": (np.int64(8), 4),
        "root": Path("a/b"),
        "weights": np.array([1.0, 2.0]),
    }
    plain = {"rate": 0.5, "units": [8, 4], "root": "a/b", "weights": [1.0, 2.0]}
    assert config_files.plain(settings) == yaml.safe_load(config_files.inline(settings)) == plain


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        ({"seed": 3, "min_categr_count": 2, "net_dropout": (0.1,)}, []),
        ({"feature_cols": []}, ["feature_cols: is decided by the argument features."]),
        ({"data_root": "x"}, ["data_root: is decided by the argument out."]),
        ({"prepare": {}}, ["prepare: is for datasets with official raw files."]),
        ({"seed": object()}, ["seed: must be a plain value, found a object."]),
        ({"num_tasks": 2, "seed": print}, ["num_tasks: is decided by", "seed: must be a plain"]),
    ],
)
def test_settings_that_no_config_can_hold(settings, texts):
    problems = list(config_files.settings_problems(settings))
    assert len(problems) == len(texts)
    assert all(problem.startswith(text) for problem, text in zip(problems, texts, strict=True))


@pytest.mark.parametrize(
    ("text", "id_"), [("my shop", "my_shop"), ("-a.b-", "a_b"), ("é!", ""), ("x" * 99, "x" * 90)]
)
def test_ids_are_made_of_names(text, id_):
    assert config_files.as_id(text) == id_
