"""The dataset's part of a config: columns, sharing, copies, preparation."""

from __future__ import annotations

import numpy as np
import pytest

from fuxictr_stem import registry
from tests.support.config_files import (
    REMOVE,
    Net,
    check_problem_of_dataset,
    column,
    columns,
    load,
)

SEQ = {"type": "sequence"}
PARQUET = {"data_format": "parquet"}


@pytest.fixture(autouse=True)
def _fake_model(monkeypatch):
    monkeypatch.setattr(registry, "get_model", lambda name: Net)


def labels(*entries):
    return {"label_col": list(entries)}


def test_columns_are_expanded_and_nulls_dropped(tmp_path):
    more = {"splitter": " ", "padding": "pre", "max_len": 0, "feature_encoder": "none"}
    params = load(tmp_path, dataset=column(name=["a", "b"], **SEQ, **more, normalizer=None))
    rest = {"active": True, "dtype": "str", "type": "sequence", **more, "feature_encoder": None}
    assert params["feature_cols"][-2:] == [{"name": n, **rest} for n in ("a", "b")]
    params["feature_cols"][-1]["max_len"] = 9
    assert params["feature_cols"][-2]["max_len"] == 0  # no dict is shared


def test_every_type_of_column(tmp_path):
    np.savez(tmp_path / "vectors.npz", key=["a"], value=np.ones((1, 4)))
    vectors = {"pretrained_emb": str(tmp_path / "vectors.npz"), "pretrain_dim": 4}
    more = columns(
        {"name": "p", "dtype": "str", "type": "categorical", **vectors, "freeze_emb": False},
        {"name": "off", "dtype": "str", "type": "categorical", **vectors, "active": False},
        {"name": "e", "dtype": "float", "type": "embedding", "pretrain_dim": 8},
        {"name": "s", "dtype": "int", "type": "sequence"},
        {"name": "m", "dtype": "int", "type": "meta", "remap": False, "fill_na": 0},
        {"name": "n", "dtype": "float", "type": "numeric", "fill_na": 0},
        {"name": "z", "dtype": "str", "type": "categorical", "fill_na": 0},
        {"name": "l", "dtype": "str", "type": "sequence"}
        | {"feature_encoder": ["layers.MaskedSumPooling()", "nn.Linear(4, 2, bias=False)"]},
    )
    cols = {c["name"]: c for c in load(tmp_path, dataset={**more, **PARQUET})["feature_cols"]}
    assert cols["p"]["pretrained_emb"] == str(tmp_path / "vectors.npz")
    assert "pretrained_emb" not in cols["off"]


BAD_COLUMNS = {
    "column": [
        (column(name=REMOVE), r"feature_cols\[5\].name: is missing"),
        (column(name=[]), "name: must be text"),
        (column(name=3), "name: must be text .* found 3"),
        (column(name=["x", "x"]), "'x' is in feature_cols already"),
        (column(name="user"), r"'user' is in feature_cols already, at .*\[0\] \(user\)"),
        (column(type="categorial"), "Did you mean 'categorical'"),
        (column(dtype="string"), "dtype: must be one of str, int, float, found 'string'"),
        (column(dtype="__import__('os')"), "dtype: must be one of"),
        (column(active="yes"), "active: must be True or False"),
        (column(category_processor="hash_bucket"), "FuxiCTR 2.3.10 cannot encode"),
        (column(vocab_size=9), "counted on the training split"),
        (column(na_value=""), r"\(x\).na_value: is an old name"),
        (column(type="numeric"), "must be int or float for a numeric column, found 'str'"),
        (column(**SEQ, dtype="int"), "must be str for a sequence in a CSV file, found 'int'"),
        (column(splitter="^"), "splitter: is for sequence columns, not categorical"),
        (column(**SEQ, splitter=""), "splitter: must be text of at least one character"),
        (column(**SEQ, padding="left"), "padding: must be one of pre, post, found 'left'"),
        (column(**SEQ, max_len=-1), "max_len: must be a whole number from 0 to"),
        (column(normalizer="MinMaxScaler"), "normalizer: is for numeric columns"),
        (column(type="numeric", dtype="int", normalizer="Scaler"), "StandardScaler, MinMaxScaler"),
        (column(type="meta", embedding_dim=4), "embedding_dim: is for categorical and sequence"),
        (column(embedding_dim=0), "embedding_dim: must be a whole number from 1 to"),
        (column(fill_na=[]), r"fill_na: must fit dtype str, found \[\]"),
        (column(dtype="int", fill_na=0.5), "fill_na: must fit dtype int, found 0.5"),
        (column(type="numeric", dtype="float", fill_na="0"), "must fit dtype float, found '0'"),
        (column(remap=False), "remap: must be True: .*use type: meta"),
        (column(pretrain_dim=4), "pretrain_dim: is for a column with pretrained_emb"),
        (column(pretrained_emb="x.npy", pretrain_dim=4), "pretrained_emb: must be a .h5, .npz"),
        (column(pretrained_emb="x.npz", pretrain_dim=4), "There is no such file"),
        (column(pretrained_emb=__file__, pretrain_dim=4), "pretrained_emb: must be a .h5"),
        ({**column(type="embedding", dtype="float"), **PARQUET}, "needs pretrain_dim"),
        (column(type="embedding", dtype="float", pretrain_dim=4), "needs parquet"),
        (
            {**column(type="embedding", dtype="float", pretrain_dim=4, fill_na=0), **PARQUET},
            "fill_na: is not for an embedding column",
        ),
    ],
    "encoder": [
        (column(**SEQ, feature_encoder="layers.MaskedSumPoling()"), "Did you mean 'layers.Masked"),
        (column(**SEQ, feature_encoder="__import__('os').getcwd()"), "feature_encoder: must be"),
        (column(**SEQ, feature_encoder=["none"]), "feature_encoder: must be"),
        (column(**SEQ, feature_encoder=[["nn.Linear(1, 2)"]]), "feature_encoder: must be"),
        (column(feature_encoder="nn.Linear(4)"), "two whole numbers from 1 to"),
        (column(feature_encoder="nn.Linear(4, 2, device='cuda')"), "nn.Linear takes two"),
        (column(feature_encoder="layers.MaskedSumPooling()"), "pools a sequence, .* categorical"),
    ],
}


@pytest.mark.parametrize(("changes", "message"), [c for cs in BAD_COLUMNS.values() for c in cs])
def test_a_bad_dataset_is_one_problem_that_says_what_to_do(tmp_path, changes, message):
    check_problem_of_dataset(tmp_path, changes, message)
