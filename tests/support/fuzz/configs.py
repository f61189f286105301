"""Experiment and dataset configs that start valid and are changed, over small files that fit them."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from hypothesis import strategies as st

from fuxictr_stem.config import schema
from fuxictr_stem.config.column_words import COLUMN_TYPES, DTYPES
from fuxictr_stem.config.value_types import OPTIMIZERS
from fuxictr_stem.metrics import METRICS
from fuxictr_stem.training.balancing import METHODS
from fuxictr_stem.training.task_loss import LOSSES
from tests.support.fuzz.outcome import EXPID, Counts, explore, run_whole
from tests.support.small_models import SMALL

ROWS = 12
FEATURES: list[dict[str, Any]] = [
    {"name": "user", "dtype": "str", "type": "categorical"},
    {"name": "item", "dtype": "int", "type": "categorical", "embedding_dim": 3},
    {"name": "price", "dtype": "float", "type": "numeric", "normalizer": "MinMaxScaler"},
    {
        "name": "tags",
        "dtype": "str",
        "type": "sequence",
        "feature_encoder": "layers.MaskedAveragePooling()",
    },
    {"name": "group", "dtype": "str", "type": "meta"},
    {"name": "vec", "dtype": "float", "type": "embedding", "pretrain_dim": 2},
    {"name": "session", "dtype": "int", "type": "meta", "remap": False},
    {"name": "city", "dtype": "str", "type": "categorical", "active": False},
]
LABELS: list[dict[str, Any]] = [
    {"name": name, "dtype": "float"} for name in ("y0", "y1", "y2", "watch")
]
LABELS[1]["parent"] = "y0"


@dataclass(frozen=True)
class Example:
    """A config.

    Attributes:
        experiment: The experiment's mapping.
        base: That of ``Base``.
        dataset: The dataset's mapping, without its files.
    """

    experiment: dict[Any, Any]
    base: dict[Any, Any]
    dataset: dict[Any, Any]

    def __str__(self) -> str:
        """Return everything that is needed to try it again."""
        return f"experiment = {self.experiment}\nbase = {self.base}\ndataset = {self.dataset}"

    def write(self, folder: Path) -> None:
        """Write configs and files into a folder."""
        data_format = self.dataset.get("data_format")
        suffix = "parquet" if data_format == "parquet" else "csv"
        files = {f"{split}_data": f"{folder}/{split}.{suffix}" for split in FRAMES}
        for split, frame in FRAMES.items():
            path = folder / f"{split}.{suffix}"
            if suffix == "parquet":
                frame.write_parquet(path)
            else:
                frame.drop("vec").write_csv(path)
        roots = {"model_root": f"{folder}/checkpoints", "verbose": 0}
        dataset = {"data_root": f"{folder}/data", **files, **self.dataset}
        models = {EXPID: {**roots, **self.experiment}, "Base": self.base}
        config = folder / "config"
        config.mkdir()
        for name, content in (("model_config", models), ("dataset_config", {"small": dataset})):
            text = yaml.safe_dump(content, allow_unicode=True)
            (config / f"{name}.yaml").write_text(text, encoding="utf-8")


def outcome(example: Example, folder: Path) -> str:
    """Load and run an example in a folder; see `run_whole`."""
    example.write(folder)
    return run_whole(folder)


def explore_configs(count: int, start: int | None = None) -> Counts:
    """Try many configs; see `explore`."""
    return explore(examples(), outcome, count, start)


def _frame(seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    either = np.arange(ROWS)
    return pl.DataFrame(
        {
            "user": [f"u{i}" for i in rng.integers(0, 4, ROWS)],
            "item": rng.integers(0, 5, ROWS),
            "price": rng.normal(size=ROWS).round(2),
            "tags": [["a", "a^b", "b^c^a", None][i] for i in rng.integers(0, 4, ROWS)],
            "group": rng.choice(["g", "h"], ROWS),
            "vec": rng.normal(size=(ROWS, 2)).tolist(),
            "session": rng.integers(0, 9, ROWS),
            "city": rng.choice(["x", "y"], ROWS),
            "y0": either % 2,
            "y1": (either % 4 == 1).astype(int),
            "y2": (either % 3 > 0).astype(int),
            "watch": rng.uniform(0.1, 2, ROWS).round(2),
        }
    )


FRAMES = {split: _frame(seed) for seed, split in enumerate(("train", "valid", "test"))}

_NAMES = ["user", "item", "price", "tags", "group", "vec", "session", "city"]
_LABELS = ["y0", "y1", "y2", "watch"]
_ODD_NAMES = ["user_group", "y0_pred", "index", "a.b", ".", "..", "*", "^u.*$", "forward", "x/y"]
_ODD_NAMES += ["items", "日本", "a\nb", " ", "nowhere", "row", "x" * 300, "AUC", "(", "user)"]
_WORDS = ["", " ", "\x00", "a\x00b", "'", "1e-6", "nan", "None", "true", "x" * 5000, "../x"]
_ENCODERS = ["nn.Linear(2, 2)", "nn.Linear(3, 2, bias=False)", "layers.MaskedSumPooling()"]
_INITIALIZERS = [
    *("nn.init.xavier_normal_", "nn.init.zeros_", "partial(nn.init.normal_, std=0.1)"),
    *("partial(nn.init.normal_, std=-1)", "partial(nn.init.normal_, std=1e400)"),
    *("partial(nn.init.uniform_, a=2, b=1)", "partial(nn.init.trunc_normal_, a=2, b=-2)"),
    *("partial(nn.init.trunc_normal_, std=0)", "partial(nn.init.xavier_uniform_, gain=1e300)"),
]
_PENALTIES = [0, 1e-4, 1, "l1(0.1)", "l2(1e-4)", "l1_l2(1e300,1e300)", "l1(nan)", 1e300, -1, "l2()"]
_SIZES = [1, 2, 3, 0, -1, 2.0, "2", 2**20, 2**31, 2**63, 10**30, 1 << 13_000]

# Values of which some fit the key; any key may get any of `_ANY`, too.
_FITTING: dict[str, list[Any]] = {
    "model": [*SMALL, "stemnet", "MultiTaskModel", "os.system"],
    "batch_size": [1, 2, 5, 11, 12, 10**6, 10**12],
    "seed": [0, 7, 2**32 - 1, 2**32],
    "epochs": [1, 2],
    "eval_steps": [None, 1, 2, 10**9],
    "learning_rate": [1e-3, 1, 1e10, 1e300, 1e-320],
    "max_gradient_norm": [1e-320, 1, 1e300],
    "optimizer": list(OPTIMIZERS),
    "loss": [*LOSSES, ["bce", "mse_loss"]],
    "task": ["binary_classification", "regression", ["binary_classification", "regression"]],
    "task_labels": [["y0"], ["watch"], ["y1", "y0"], ["y0", "y0"], ["y0", "y2", "y1"], None],
    "metrics": [*METRICS, ["AUC", "gAUC"], list(METRICS), ["MSE", "MSE"], []],
    "monitor": ["AUC", "y0_AUC", "gAUC", {"AUC": 1, "logloss": -1}, {"AUC": 0}, {"AUC": 1e300}],
    "monitor_mode": ["min", "max"],
    "loss_weight": ["EQ", "UW", "DWA", [1, 0], [0, 0], [1e300, 1e300], {"y0": 1, "y1": 2}],
    "gradient_balancing": [None, *METHODS],
    "sample_spaces": [{"y1": "y0"}, {"y0": "watch"}, {"y0": "y0"}, {"y1": "y2", "y0": "y2"}],
    "sample_weight": ["watch", "y2", "y0", "price"],
    "embedding_dim": _SIZES,
    "embedding_initializer": _INITIALIZERS,
    "embedding_regularizer": _PENALTIES,
    "net_regularizer": _PENALTIES,
    "group_id": ["group", "user", "session", "tags", "vec", "y0", "city", None],
    "use_features": [["user"], ["price"], ["group"], ["tags", "user"], ["user", "user"], ["y0"]],
    "feature_specs": [[{"name": "user", "embedding_dim": 5}], [{"name": "tags"}], [{}], []],
    "net_dropout": [0, 0.5, 0.999, 1, [0.1], [0.1, 0.2]],
    "hidden_activations": ["ReLU", "dice", "prelu", None, ["ReLU"], ["Softplus", "RReLU"]],
    "memory_budget": [1, None],
    "auxiliary_labels": [["y0"], ["y1"], ["y0", "y1"], ["watch"]],
    "num_tasks": [1, 2, 3],
    **dict.fromkeys(("num_layers", "num_experts", "num_shared_experts"), [1, 2, 3, 0, 2**31]),
    **dict.fromkeys(
        ("expert_hidden_units", "gate_hidden_units", "tower_hidden_units", "bottom_hidden_units"),
        [[3], [3, 2], [], [0], [2**31], [2**20, 2**20], [10**30]],
    ),
    **dict.fromkeys(
        ("batch_norm", "row_sparse", "shuffle", "save_best_only", "save_predictions", "active"),
        [True, False],
    ),
    **dict.fromkeys(("remap", "freeze_emb", "reduce_lr_on_plateau"), [True, False]),
    **dict.fromkeys(("emb_output_dim", "pretrain_dim", "num_workers"), _SIZES),
    "normalizer": ["StandardScaler", "MinMaxScaler", None],
    "early_stop_patience": [1, 2, 10**12],
    "verbose": [0, 1, 2],
    "gate_input": ["task", "task_plus_shared"],
    "shared_gate_reads": ["all", "shared"],
    "padding": ["pre", "post"],
    "source": ["user", "", {"rows": {"raw": 1}}],
    "name": [*_NAMES, *_LABELS, *_ODD_NAMES, ["user", "item"]],
    "type": list(COLUMN_TYPES),
    "dtype": list(DTYPES),
    "fill_na": ["", "a", 0, 1.5, -1, 2**62, 2**63, 10**30, 1e300, True],
    "preprocess": ["copy_from(user)", "copy_from(y0)", "copy_from(item)", "both(y0, y1)"],
    "feature_encoder": [*_ENCODERS, None, [_ENCODERS[2], _ENCODERS[0]], _ENCODERS[:2]],
    "share_embedding": ["user", "item", "tags"],
    "pretrained_emb": ["train.csv", "nowhere.npz"],
    "splitter": ["^", "a", "ab", "^^"],
    "max_len": [0, 1, 5, 4096, 2**31, 10**30],
    "missing": [0, -1, math.nan, "nan", 1e300],
    "parent": _LABELS,
    "sep": [",", ";", '"', "\n", "é"],
    "min_categr_count": [1, 2, 50, 10**30],
    "data_format": ["csv", "parquet"],
    "test_data": [None, "nowhere.csv"],
    "prepare": [
        {"preparer": "tiktok", "raw_dir": "nowhere", "stand_in": "../x"},
        {"preparer": "x"},
    ],
    **dict.fromkeys(("train_data", "data_root", "model_root"), ["\x00", "a\x00b", "x" * 300]),
}


def _hashable(value: object) -> bool:
    return not isinstance(value, (list, dict))


_SINGLE = st.one_of(
    st.sampled_from([None, True, False, math.nan, math.inf, -math.inf, -0.0, 1e-320, 1e300, 0.5]),
    st.sampled_from(_SIZES),
    st.sampled_from([*_NAMES, *_LABELS, *_ODD_NAMES]),
    st.sampled_from([*_WORDS, *_ENCODERS, *_INITIALIZERS]),
)
_ANY = st.recursive(
    _SINGLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_SINGLE, inner, max_size=3)
    ),
    max_leaves=4,
)
_UNKNOWN = st.sampled_from(
    ["batchsize", "Learning_rate", "gpu", "", " ", 3, None, True, 1.5, "日本"]
)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """A valid config of any model, with up to three changes."""
    model = draw(st.sampled_from(list(SMALL)))
    tasks = copy.deepcopy(draw(st.sampled_from(_TASKS)))
    experiment: dict[Any, Any] = {
        "model": model,
        "dataset_id": "small",
        **copy.deepcopy(SMALL[model]),
        **tasks,
        "batch_size": 5,
        "embedding_dim": 2,
        "expert_hidden_units": [3],
    }
    if "expert_hidden_units" not in SMALL[model]:
        del experiment["expert_hidden_units"]
    parquet = draw(st.booleans())
    features = [c for c in FEATURES if parquet or c["name"] != "vec"]
    dataset: dict[Any, Any] = {
        "data_format": "parquet" if parquet else "csv",
        "feature_cols": copy.deepcopy(features),
        "label_col": copy.deepcopy(LABELS),
    }
    base: dict[Any, Any] = {}
    keys = {
        "experiment": [*schema.Experiment.model_fields, *SMALL[model], *_NETWORK],
        "base": [*schema.Experiment.model_fields, *_NETWORK],
        "dataset": [key for key in schema.Dataset.model_fields if key not in _COLUMN_KEYS],
    }
    for _ in range(draw(st.integers(0, 3))):
        where = draw(st.sampled_from(_PLACES))
        if where in _COLUMN_KEYS:
            _change_columns(draw, dataset, where)
        else:
            place = {"experiment": experiment, "base": base, "dataset": dataset}[where]
            _change(draw, place, keys[where])
    return Example(experiment, base, dataset)


_PLACES = ["experiment"] * 4 + ["base"] + ["dataset"] * 2 + ["feature_cols"] * 3 + ["label_col"]
_TASKS = [
    {"task_labels": ["y0", "y1"]},
    {"task_labels": ["y0", "y1"], "group_id": "group", "metrics": ["gAUC", "logloss"]},
    {"task_labels": ["y0", "y1"], "sample_spaces": {"y1": "y2"}, "sample_weight": "watch"},
    {
        "task_labels": ["y0", "watch"],
        "task": ["binary_classification", "regression"],
        "metrics": ["AUC", "MSE"],
    },
]
_NETWORK = ["hidden_activations", "net_dropout", "batch_norm"]
_COLUMN_KEYS = {
    "feature_cols": list(schema.Feature.model_fields),
    "label_col": list(schema.Label.model_fields),
}


def _change(draw: st.DrawFn, place: dict[Any, Any], keys: list[str]) -> None:
    chance = draw(st.integers(0, 19))
    key = draw(_UNKNOWN if chance == 0 else st.sampled_from(keys))
    if chance == 1:
        place.pop(key, None)
    elif chance < 5 or key not in _FITTING:
        place[key] = draw(_ANY)
    else:
        place[key] = copy.deepcopy(draw(st.sampled_from(_FITTING[key])))


def _change_columns(draw: st.DrawFn, dataset: dict[Any, Any], where: str) -> None:
    columns = dataset.get(where)
    if not isinstance(columns, list) or not columns:
        return
    index = draw(st.integers(0, len(columns) - 1))
    how = draw(st.sampled_from(["change"] * 6 + ["remove", "double", "more", "whole"]))
    if how == "remove":
        del columns[index]
    elif how == "double":
        columns.append(copy.deepcopy(columns[index]))
    elif how == "more":
        more = copy.deepcopy(columns[index]) if isinstance(columns[index], dict) else {}
        columns.append({**more, "name": draw(st.sampled_from([*_NAMES, *_ODD_NAMES]))})
    elif how == "whole":
        dataset[where] = draw(_ANY)
    elif isinstance(columns[index], dict):
        _change(draw, columns[index], _COLUMN_KEYS[where])
