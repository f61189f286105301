"""Columns that a function of an installed package makes, against FuxiCTR's own processor and Python."""

import importlib
import sys

import numpy as np
import polars as pl
import pytest

from fuxictr_stem import registry
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.source.column_plan import plan_columns
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.errors import ConfigError, DataError
from tests.support.config_files import Net, columns, load, problems
from tests.support.datasets import SPLITS, assert_same, cached, feature
from tests.support.preprocess_package import MODULE, NAMES, Package, small


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_columns_are_what_the_functions_make(package, tmp_path, data_format):
    features = [
        feature("hour", preprocess="hour"),
        feature("square", dtype="int", preprocess="bucket(price)"),
        feature("amount", "numeric", "float", preprocess="log(price)"),
        feature("kept", "numeric", "float", preprocess="log"),
        feature("price", "numeric", "float", active=False),
        feature("time", active=False),
    ]
    got = cached(open_cache(small(tmp_path / "d", features, data_format)))
    # The hours of train are 03 and 23, each once; a missing one is unknown, as in FuxiCTR.
    assert [got["train"]["hour"].tolist(), got["valid"]["hour"].tolist()] == [[1, 3, 2], [1, 1, 1]]
    # log(100)^2 = 21.2, log(7)^2 = 3.8; up to 2 a number is cut: train has 1, 21 and, missing, 0.
    ids = {split: got[split]["square"].tolist() for split in ("train", "valid")}
    of = dict(zip((1, 21, 0), ids["train"], strict=True))
    assert len(set(of.values())) == 3
    assert ids["valid"][0] == of[21]
    assert ids["valid"][2] == of[0]
    assert ids["valid"][1] not in of.values()
    np.testing.assert_allclose(got["train"]["amount"], np.log1p([1.5, 100, 0]), rtol=1e-6)
    np.testing.assert_allclose(got["valid"]["kept"], np.log1p([1, 2, 3]), rtol=1e-6)
    assert {"price", "time"}.isdisjoint(got["train"])


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_a_function_makes_sequences(package, tmp_path, data_format):
    features = [
        feature("parts", "sequence", preprocess="days(time)"),
        feature("time", active=False),
    ]
    found = cached(open_cache(small(tmp_path / "d", features, data_format)))
    # 01, 02 and 2026 stand twice each in train; a missing one is padding, and 05 unknown.
    assert found["train"]["parts"].tolist() == [[3, 1, 2], [0, 0, 0], [3, 1, 2]]
    assert found["valid"]["parts"].tolist() == [[3, 4, 1]] * 3


def test_ids_are_those_of_a_fuxictr_processor_with_the_same_methods(package, tmp_path):
    from fuxictr.preprocess import FeatureProcessor
    from fuxictr.preprocess.build_dataset import merge_meta_ddf

    module = importlib.import_module(package.module)

    class Custom(FeatureProcessor):
        def hour(self, name):
            return module.hour(name)

        def bucket(self, name):
            return module.bucket(name)

        def save_pickle(self, pickle_file):
            """A local class cannot be pickled."""

    features = [
        feature("hour", preprocess="hour"),
        feature("price", dtype="int", preprocess="bucket", fill_na=0),
        feature("time", active=False),
    ]
    dataset = small(tmp_path / "d", features, "parquet")
    for split in SPLITS:
        frame = pl.read_parquet(dataset[f"{split}_data"])
        whole = frame.with_columns(pl.col("price").cast(pl.Int64))
        whole.write_parquet(dataset[f"{split}_data"])
    processor = Custom(**{**dataset, "data_root": str(tmp_path / "f")})
    frames = {
        s: processor.preprocess(processor.read_data(dataset[f"{s}_data"], "parquet"))
        for s in SPLITS
    }
    processor.fit(frames["train"], meta_ddf=merge_meta_ddf(processor, *frames.values()))
    said = {}
    for split, frame in frames.items():
        batch = {c.name: c.to_numpy() for c in frame.collect()}
        said[split] = {k: np.asarray(v) for k, v in processor.transform(batch).items()}
    assert_same(cached(open_cache(dataset)), said)


@pytest.mark.parametrize("name", ["hour", "part"])
def test_a_cache_is_of_the_functions_version_and_content(package, tmp_path, name):
    plain = small(tmp_path / "p", [feature("kept", "numeric", "float")])
    dataset = small(tmp_path / "d", [feature("hour", preprocess=name), feature("time")])

    def names():
        return [fingerprint(one, find_files(one)) for one in (plain, dataset)]

    first = names()
    assert names() == first
    package.release("1.1")
    second = names()
    assert second[0] == first[0]
    assert second[1] != first[1]
    package.path.write_text(MODULE + "\n# changed\n")
    third = names()
    assert third[0] == first[0]
    assert third[1] not in (first[1], second[1])


@pytest.mark.parametrize(
    ("col", "told"),
    [
        (feature("x", preprocess="answer"), "'x': preprocess answer reads 'y', which is a label"),
        (feature("x", preprocess="fails"), r"fails\('x'\) of an installed package raised KeyError"),
        (feature("x", preprocess="nothing(a)"), "must return a polars expression, returned 'a'"),
        (feature("x", preprocess="log(gone)"), "reads 'gone', which is not in feature_cols"),
        (feature("x", preprocess="log(copy)"), "reads 'copy', which is copy_from"),
    ],
)
def test_a_function_that_cannot_make_its_column_is_named(package, tmp_path, col, told):
    copy = feature("copy", "numeric", "float", preprocess="copy_from(kept)")
    others = [feature("time", active=False), feature("kept", "numeric", "float"), copy]
    with pytest.raises(ConfigError, match=told):
        plan_columns(small(tmp_path, [col, *others]))


@pytest.mark.parametrize(
    ("col", "told"),
    [
        (feature("x", preprocess="log(kept)"), "makes Float64, but the column is declared str"),
        (feature("x", "numeric", "float", preprocess="hour"), "makes String, .* declared float"),
        (
            feature("x", "numeric", "float", preprocess="whole(time)"),
            r"preprocess whole\(time\) cannot be computed in train: conversion",
        ),
        (
            feature("x", preprocess="reserved(kept)"),
            "preprocess function of column 'x' makes '__PAD__' 3 times",
        ),
        (
            feature("x", "numeric", "float", preprocess="log(negative)"),
            "makes NaN or infinite numbers in 1 row",
        ),
    ],
)
def test_values_that_are_not_as_declared_are_named(package, tmp_path, col, told):
    others = [feature("time", active=False), feature("kept", "numeric", "float")]
    dataset = small(tmp_path, [*others, col, feature("negative", "numeric", "float")])
    for split in SPLITS:
        frame = pl.read_csv(dataset[f"{split}_data"])
        frame.with_columns(negative=pl.Series([1.0, -3.0, 2.0])).write_csv(dataset[f"{split}_data"])
    with pytest.raises(DataError, match=told):
        open_cache(dataset)


def test_a_config_names_installed_functions_only(package, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "get_model", lambda name: Net)
    more = {"dtype": "str", "type": "categorical"}
    entry = {"name": "x", **more, "preprocess": " hour ( user ) "}
    (x,) = (c for c in load(tmp_path, dataset=columns(entry))["feature_cols"] if c["name"] == "x")
    assert x["preprocess"] == "hour(user)"
    # Nothing of the package was imported for that.
    assert package.module not in sys.modules
    for text, told in {
        "hours": "Did you mean 'hour'?",
        "os.system(x)": "must be copy_from(<column>), or a function of an installed package",
        "eval(x)": f"Installed functions: {', '.join(sorted(NAMES))}.",
        "load_pickle(x)": "Installed functions: ",
    }.items():
        (line,) = problems(tmp_path, dataset=columns({**entry, "preprocess": text}))
        assert "(x).preprocess: must be " in line
        assert told in line
    meta = {"name": "m", "dtype": "int", "type": "meta", "preprocess": "hour"}
    (line,) = problems(tmp_path, dataset=columns(meta))
    assert "a function makes categorical, numeric and sequence columns, not meta" in line
    sequence = {"name": "s", "dtype": "str", "type": "sequence", "preprocess": "days(user)"}
    assert load(tmp_path, dataset=columns({**sequence, "splitter": "^"}))
    copy = {"name": "z", **more, "preprocess": "copy_from(x)"}
    (line,) = problems(tmp_path, dataset=columns(entry, copy))
    assert "copies 'x', which is in no file: it is made by hour(user)" in line
    (line,) = problems(tmp_path, {"group_id": "x"}, columns(entry))
    assert "names 'x', which is in no file" in line


def test_a_package_that_cannot_be_imported_is_named(package, tmp_path):
    package.path.write_text("raise RuntimeError('no such device')")
    dataset = small(tmp_path, [feature("x", preprocess="hour"), feature("time")])
    with pytest.raises(ConfigError, match=r"'hour' .* cannot be imported: .*no such device"):
        plan_columns(dataset)


def test_two_functions_of_one_name_are_refused(package, tmp_path):
    Package(tmp_path)
    sys.path.insert(0, str(tmp_path))
    try:
        importlib.invalidate_caches()
        with pytest.raises(ConfigError, match="Two preprocess functions are called"):
            registry.list_preprocess()
    finally:
        sys.path.remove(str(tmp_path))
