"""The dataset's part of a config: columns, sharing, copies, preparation."""

from __future__ import annotations

import numpy as np
import pytest

from fuxictr_stem import registry
from fuxictr_stem.config.dataset_config import load_dataset
from fuxictr_stem.errors import ConfigError
from tests.support.config_files import DATASET, REMOVE, Net, column, columns, load, problems, write

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


def test_no_ops_of_fuxictr_and_empty_keys_are_left_out(tmp_path):
    changes = {"rebuild_dataset": True, "data_block_size": 0, "prepare": None, "source": None}
    dataset = load_dataset(write(tmp_path, dataset=changes), "toy")
    assert not set(changes) & set(dataset)
    assert dataset["test_data"] is None


def test_options_of_a_preparer_pass(tmp_path):
    prepare = {"preparer": "p", "raw_dir": "raw", "valid_date": 20220507, "labels": ["a", "b"]}
    source = {"rows": {"train": 3}, "retrieved": "2024-01-05"}
    params = load(tmp_path, dataset={"prepare": prepare, "source": source})
    assert params["prepare"] == prepare
    assert params["source"] == source


def test_facts_that_nothing_compares_with_have_any_form(tmp_path):
    source = {"rows": 5, "positive_rate": "some 2 %"}
    assert load(tmp_path, dataset={"source": source})["source"] == source


@pytest.mark.parametrize(
    "source",
    [None, {}, {"rows": {"raw": 5, "train": "1.5M", "valid": None}}, {"positive_rate": {"y": 0}}],
)
def test_facts_that_a_preparation_compares_with_pass(tmp_path, source):
    load(tmp_path, dataset={"prepare": {"preparer": "p", "raw_dir": "raw"}, "source": source})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"rows": 5}, r"source.rows: must be a mapping, found 5. Write rows: \{raw: 1000"),
        ({"rows": [1]}, r"source.rows: must be a mapping, found \[1\]"),
        ({"rows": "abc"}, "source.rows: must be a mapping, found 'abc'"),
        ({"rows": {"raw": [1]}}, r"source.rows.raw: must be a whole number >= 0, or text .* \[1\]"),
        ({"rows": {"raw": True}}, "source.rows.raw: must be a whole number"),
        ({"rows": {"train": -1}}, "source.rows.train: must be a whole number"),
        ({"positive_rate": 3}, r"positive_rate: must be a mapping, .* positive_rate: \{click: 0.2"),
        (
            {"positive_rate": {"y": 10**400}},
            "positive_rate.y: must be a finite number >= 0 and < 1",
        ),
        ({"positive_rate": {"y": "2 %"}}, "positive_rate.y: must be a finite number"),
    ],
)
def test_facts_that_a_preparation_could_not_compare_with_are_refused(tmp_path, source, message):
    prepare = {"preparer": "p", "raw_dir": "raw"}
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, dataset={"prepare": prepare, "source": source})


BAD_DATASETS = {
    "dataset": [
        ({"train_data": REMOVE}, "toy.train_data: is missing"),
        ({"valid_data": ""}, "toy.valid_data: must be text"),
        ({"data_format": "h5"}, "data_format: must be one of csv, parquet, found 'h5'"),
        ({"sep": "::"}, "sep: must be one ASCII character"),
        ({"min_categr_count": 0}, "min_categr_count: must be a whole number >= 1"),
        ({"feature_col": []}, "Did you mean 'feature_cols'"),
        ({"batch_size": 4}, "belongs to the experiment"),
        ({"test_size": 0.1}, "cannot split the data itself"),
        ({"rebuild_dataset": False}, "rebuild_dataset: must be True, found False"),
        ({"rebuild_dataset": 1}, "rebuild_dataset: must be True, found 1"),
        ({"data_block_size": 10}, "data_block_size: must be 0, found 10"),
        ({"source": "web"}, "source: must be a mapping"),
        ({"group_id": 3}, "group_id: must be text .*quotes"),
        ({"prepare": {"preparer": "p"}}, "prepare.raw_dir: is missing. Add it"),
        (
            {"prepare": {"preparer": "p", "raw_dir": "r", "stand_in": "toy"}},
            "prepare.stand_in: must be another dataset of this folder, found 'toy'",
        ),
        ({"prepare": {"preparer": "p", "raw_dir": "r", "x": {"y": 1}}}, r"prepare.x: must be"),
        ({"feature_cols": REMOVE}, "toy.feature_cols: is missing"),
        ({"feature_cols": {"name": "x"}}, "feature_cols: must be a list of mappings"),
        ({"feature_cols": []}, r"feature_cols: must be a list of mappings, found \[\]"),
        (columns("x"), r"feature_cols\[5\]: must be a mapping, found 'x'"),  # type: ignore[arg-type]
        (
            {"feature_cols": [{**DATASET["feature_cols"][1], "active": False}]},
            "must have an active column that is not meta",
        ),
        (
            {"feature_cols": [DATASET["feature_cols"][-1]]},
            "must have an active column that is not meta",
        ),
        ({"label_col": REMOVE}, "toy.label_col: is missing"),
        (labels(), r"label_col: must be a list of mappings, found \[\]"),
        (labels({"name": "click"}), r"label_col\[0\] \(click\).dtype: is missing"),
        (labels({"name": "click", "dtype": "str"}), "dtype: must be one of int, float"),
        (labels({"name": "y", "dtype": "int", "active": False}), "active: must be True"),
        (labels({"name": "y", "dtype": "int", "type": "numeric"}), "type: is not a known key"),
        (labels(*[{"name": "y", "dtype": "int"}] * 2), "'y' is in label_col already"),
        (labels({"name": "item", "dtype": "int"}), r"'item' is a label, too: .* see the answer"),
    ],
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
    "sharing": [
        (column(share_embedding="usr"), "must name an active .* 'usr'. Did you mean 'user'"),
        (column(share_embedding="x"), "share_embedding: must name an active"),
        (column(share_embedding="city", dtype="int"), "share_embedding: must name an active"),
        (column(share_embedding="price"), "share_embedding: must name an active"),
        (column(share_embedding="history"), "shares a table itself. Name 'item'"),
        (column(share_embedding="item", dtype="int"), "their ids are int and str"),
        (
            columns(
                {"name": "a", "dtype": "str", "type": "categorical", "embedding_dim": 4},
                {"name": "b", "dtype": "str", "type": "categorical", "embedding_dim": 8}
                | {"share_embedding": "a"},
            ),
            r"widths are \[8, 4\]",
        ),
    ],
    "copies": [
        (column(preprocess="convert(x)"), "preprocess: must be copy_from"),
        (column(preprocess="load_pickle(x.pkl)"), "preprocess: must be copy_from"),
        (column(preprocess="copyfrom(user)"), "Did you mean 'copy_from'"),
        (column(preprocess="copy_from()"), "preprocess: must be copy_from"),
        (column(preprocess="copy_from(usr)"), "'usr', which is not a column .* mean 'user'"),
        (
            column(preprocess="copy_from(click)"),
            r"x <- click holds the same as the label 'click': .* answer",
        ),
        (
            labels({"name": "y", "dtype": "float", "preprocess": "copy_from(price)"}),
            r"\(price\): price holds the same as the label 'y'",
        ),
    ],
}


@pytest.mark.parametrize(("changes", "message"), [c for cs in BAD_DATASETS.values() for c in cs])
def test_a_bad_dataset_is_one_problem_that_says_what_to_do(tmp_path, changes, message):
    assert len(problems(tmp_path, dataset=changes)) == 1
    with pytest.raises(ConfigError, match=message) as caught:
        load_dataset(tmp_path, "toy")
    assert str(caught.value).startswith("Dataset 'toy': 1 problem in the configuration.\n- ")


def test_copies_in_chains_and_circles(tmp_path):
    def meta(name, source, kind="meta"):
        return {"name": name, "dtype": "float", "type": kind, "preprocess": f"copy_from({source})"}

    chain = columns(meta("a", "click"), meta("b", "a", "numeric"))
    (line,) = problems(tmp_path, dataset=chain)
    assert "(b): b <- a <- click holds the same as the label 'click'" in line
    twins = columns(meta("x", "city", "numeric"))
    twins |= labels({"name": "y", "dtype": "int", "preprocess": "copy_from(city)"})
    (line,) = problems(tmp_path, dataset=twins)
    assert "x <- city holds the same as the label 'y'" in line
    lines = problems(tmp_path, dataset=columns(meta("a", "b"), meta("b", "a")))
    assert "circle: a <- b <- a" in lines[0]
    assert len(lines) == 2
    load(tmp_path, dataset=columns(meta("a", "click"), meta("c", "c"), meta("d", "city")))


def test_a_pretrained_column_that_shares_is_refused(tmp_path):
    np.savez(tmp_path / "v.npz", key=["a"], value=np.ones((1, 4)))
    vectors = {"pretrained_emb": str(tmp_path / "v.npz"), "pretrain_dim": 4}
    (line,) = problems(tmp_path, dataset=column(share_embedding="item", **vectors))
    assert "x).pretrained_emb: 'x' shares the table of 'item'. Give it to 'item'." in line


def test_an_inactive_group_is_refused(tmp_path):
    more = columns({"name": "raw", "dtype": "int", "type": "meta", "active": False})
    (line,) = problems(tmp_path, {"group_id": "raw"}, more)
    assert "names the inactive column 'raw'. Set active: True." in line
