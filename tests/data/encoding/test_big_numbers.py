"""Ids past int32, vocabularies past 2^31 and numbers past their type: exact, or refused by name."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.layers import FieldTables, embeddings
from fuxictr_stem.layers.row_gradients import RowGradients
from tests.support.datasets import cached, feature, label, with_labels, write_dataset
from tests.support.project import Project

INT64 = st.integers(-(2**63), 2**63 - 1)
FORMATS = pytest.mark.parametrize("data_format", ["csv", "parquet"])


def open_column(folder, values, column, dtype=None, data_format="parquet", **more):
    series = pl.Series("g", values, dtype=dtype)
    frames = {
        split: with_labels({"g": series, "c": ["a"] * len(values)}) for split in ("train", "valid")
    }
    features = [column, feature("c")]
    return open_cache(write_dataset(folder, frames, features, data_format=data_format, **more))


def raw(**more):
    return feature("g", "meta", "int", remap=False, **more)


@FORMATS
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_raw_ids_of_64_bits_reach_the_batches(tmp_path_factory, data_format, data):
    base = data.draw(st.lists(INT64, min_size=1, max_size=6))
    ids = [i for i in base for i in (i, i + 1) if i < 2**63]
    cache = open_column(tmp_path_factory.mktemp("ids"), ids, raw(), pl.Int64, data_format)
    columns = SimpleNamespace(features={"g": {}}, labels=["y"])
    for budget in (None, 0):
        batches = H5Loader(columns, cache.path("train"), batch_size=3, memory_budget=budget)
        assert torch.cat([batch["g"] for batch in batches]).tolist() == ids


@FORMATS
@pytest.mark.parametrize("base", [2**40, 2**53, 2**62, -(2**62)])
def test_neighbouring_large_ids_are_different_tokens(tmp_path, data_format, base):
    ids = [base, base + 1, base, base + 2, base + 1]
    cache = open_column(tmp_path, ids, feature("g", dtype="int"), data_format=data_format)
    found = cached(cache)["train"]["g"].tolist()
    assert found[0] == found[2]
    assert found[1] == found[4]
    assert len(set(found)) == 3


@FORMATS
@pytest.mark.parametrize("kind", ["meta", "categorical"])
def test_ids_from_2_63_on_are_refused_as_integers_and_exact_as_text(tmp_path, data_format, kind):
    ids = [2**63, 2**63 + 1, 2**64 - 1, 2**63]
    with pytest.raises(
        DataError, match="'g' is not a whole number .int. in 4 rows of train.*9223372"
    ):
        open_column(tmp_path / "int", ids, feature("g", kind, "int"), pl.UInt64, data_format)
    found = open_column(tmp_path / "str", ids, feature("g", kind), pl.UInt64, data_format)
    tokens = cached(found)["train"]["g"].tolist()
    assert tokens[0] == tokens[3]
    assert len(set(tokens)) == 3


@FORMATS
def test_raw_ids_from_2_63_on_are_refused_with_the_way_out(tmp_path, data_format):
    with pytest.raises(DataError, match="remap: false keeps integers of 64 bits. Leave it out"):
        open_column(tmp_path, [1, 2**63], raw(), pl.UInt64, data_format)


@pytest.mark.parametrize(("dtype", "first"), [(pl.Float32, 2**24), (pl.Float64, 2**53)])
@pytest.mark.parametrize("column", [raw(), feature("g", dtype="int")])
def test_ids_stored_as_floats_are_refused_where_neighbours_merge(tmp_path, dtype, first, column):
    exact = [float(first - 1), -float(first - 1), 0.0, None]
    found = cached(open_column(tmp_path / "exact", exact, column, dtype))["train"]["g"].tolist()
    if column["type"] == "meta":
        assert found == [first - 1, 1 - first, 0, 0]
    merged = [0.0, float(first), None, -float(first)]
    message = (
        "'g' is a float, in which neighbouring ids become equal in 2 rows of train.*row 2, value"
    )
    with pytest.raises(DataError, match=message):
        open_column(tmp_path / "merged", merged, column, dtype)
    # What is a number and no id may be rounded.
    number = feature("g", "numeric", "int")
    assert open_column(tmp_path / "number", merged, number, dtype).rows["train"] == 4


@pytest.mark.parametrize("fill", [2**63, -(2**63) - 1, 10**400, 1e300])
def test_a_fill_value_past_64_bits_is_refused(tmp_path, fill):
    for place, column in enumerate(
        [raw(fill_na=fill), feature("g", "meta", "str", remap=False, fill_na=fill)]
    ):
        with pytest.raises(ConfigError, match="fill_na must be a whole number of 64 bits"):
            open_column(tmp_path / str(place), [1, None], column)


def test_a_fill_value_past_64_bits_is_refused_in_the_config(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    project.dataset["feature_cols"].append(
        {"name": "n", "active": True, "dtype": "int", "type": "categorical", "fill_na": 2**63}
    )
    assert project.run() == 2
    assert "fill_na: must fit dtype int, found 9223372036854775808" in capsys.readouterr().err


@FORMATS
def test_a_missing_label_is_the_value_itself_not_its_float32(tmp_path, data_format):
    values = [2.0**24, 2.0**24 + 1, 1.0, 0.5]
    frame = pl.DataFrame({"c": list("abca"), "y": values})
    dataset = write_dataset(
        tmp_path,
        {"train": frame, "valid": frame},
        [feature("c")],
        [label("y", missing=2**24 + 1)],
        data_format=data_format,
    )
    found = cached(open_cache(dataset))["train"]["y"]
    np.testing.assert_array_equal(found, np.float32([2**24, np.nan, 1, 0.5]))


def test_groups_of_large_ids_are_the_groups_of_small_ones(tmp_path, monkeypatch):
    """gAUC is the same whether groups are called 0, 1, 2 or by neighbours beyond what a float holds."""
    monkeypatch.chdir(tmp_path)
    results = []
    for base in (0, -(2**63)):
        project = Project(tmp_path)
        group = base + pl.col("user").str.slice(1).cast(pl.Int64)
        project.frames = {s: f.with_columns(g=group) for s, f in project.frames.items()}
        project.dataset["feature_cols"].append(
            {"name": "g", "active": True, "dtype": "int", "type": "meta", "remap": False}
        )
        project.dataset["group_id"] = "g"
        project.model["epochs"] = 1
        project.model["save_predictions"] = True
        assert project.run() == 0
        folder = tmp_path / "checkpoints" / "toy" / "toy_test"
        results.append(json.loads((folder / "result.json").read_text())["test"])
        groups = pl.read_parquet(folder / "predictions_test.parquet")["group"]
        wanted = project.frames["test"]["g"]
        assert groups.to_list() == wanted.to_list()
    assert results[0] == results[1]
    assert results[0]["gAUC"] != results[0]["AUC"]


def test_tables_past_2_31_rows_read_and_train_their_own_rows(tmp_path, monkeypatch):
    """The table is a sparse file: only the pages of the rows that are used exist."""
    monkeypatch.setattr(
        embeddings.nn,
        "Embedding",
        lambda *size, **more: nn.modules.Embedding(*size, device="meta", **more),
    )
    sizes, big = [5, 2**31 + 7, 3, 4], 2**31
    tables = FieldTables(sizes, [True, True, False, True], 1, 1, nn.init.zeros_)
    rows = big + 17
    assert tables.table.weight.shape == (rows, 1)
    weight = torch.from_file(str(tmp_path / "rows"), shared=True, size=rows)[:, None]
    tables.table.weight = nn.Parameter(weight)

    # Each field's first and last ids; id 0 is padding but in the third field.
    ids = torch.tensor([[1, 1, 0, 1], [4, big + 6, 2, 3], [0, 0, 1, 0]])
    place = torch.tensor([[1, 5, big + 11, big + 14], [4, big + 10, big + 13, big + 16]])
    values = torch.arange(1.0, 9.0).view(2, 4, 1)
    with torch.no_grad():
        weight.index_copy_(0, place.flatten(), values.flatten()[:, None])
    vocabs = torch.arange(4)
    found = tables(ids, vocabs)
    torch.testing.assert_close(found[:2], values)
    assert not found[2].any()

    tables.row_gradients = RowGradients()
    (tables(ids, vocabs)[:2] * values).sum().backward()
    touched, sums = tables.row_gradients.take()
    wanted = dict(zip(place.flatten().tolist(), values.flatten().tolist(), strict=True))
    wanted |= {big + 12: 0.0}
    assert dict(zip(touched.tolist(), sums.flatten().tolist(), strict=True)) == wanted
    with pytest.raises(IndexError, match="outside its vocabulary"):
        tables(torch.tensor([[1, big + 7, 0, 1]]), vocabs)
