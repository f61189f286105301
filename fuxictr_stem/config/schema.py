"""Every key that a config may hold: what it must be, what it means, and what it is by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fuxictr_stem.config.kinds import (
    BOOLEAN,
    NULL,
    PATH,
    PLAIN,
    PLAIN_MAPPING,
    STRING,
    TEXT,
    Kind,
    choice,
    list_of,
    number,
    one_or_list,
    optional,
    whole,
)
from fuxictr_stem.config.values import (
    ACTIVATION,
    CATEGORICAL,
    COLUMN_TYPES,
    EMBEDDING,
    ENCODER,
    FEATURE_SOURCE,
    INITIALIZER,
    LABEL_SOURCE,
    LOSS_WEIGHT,
    MISSING,
    MONITOR,
    NUMERIC,
    OPTIMIZERS,
    PRETRAINED_FILE,
    REGULARIZER,
    SAMPLE_SPACES,
    SEQUENCE,
    SPECIAL_CHARACTER,
    SPLITTER,
)
from fuxictr_stem.metrics import METRICS, TASKS
from fuxictr_stem.models.expressions import WIDEST
from fuxictr_stem.training.balancing import METHODS
from fuxictr_stem.training.loss_weights import EQUAL
from fuxictr_stem.training.precision import FP32, PRECISIONS
from fuxictr_stem.training.task_loss import LOSSES

REQUIRED: Any = object()
ABSENT: Any = object()


class Key(NamedTuple):
    """One key.

    Attributes:
        kind: What its value must be.
        meaning: What it decides, in one line.
        default: Its value where the config names none; `REQUIRED`; or `ABSENT` to leave it out.
        types: The column types that it is for, if it is not for all.
    """

    kind: Kind
    meaning: str
    default: Any = ABSENT
    types: tuple[str, ...] = ()


# More is a slip of the finger, and would take all memory there is.
_WIDTH = whole(1, WIDEST)
_DEPTH = whole(1, 1_000)

EXPERIMENT: dict[str, Key] = {
    "model": Key(TEXT, "name of the model", REQUIRED),
    "dataset_id": Key(TEXT, "name of the dataset", REQUIRED),
    "task_labels": Key(
        optional(list_of(TEXT, 1)), "labels to train, in order; null for those of the files", None
    ),
    "task": Key(one_or_list(choice(TASKS)), "task type, one for all labels or a list", TASKS[0]),
    "num_tasks": Key(optional(whole(1)), "number of tasks, if it is to be checked", None),
    "loss": Key(optional(one_or_list(choice(LOSSES))), "loss, by default by the task type", None),
    "loss_weight": Key(LOSS_WEIGHT, "how the tasks' losses are weighted", EQUAL),
    "gradient_balancing": Key(
        optional(choice(METHODS)), "how the tasks' gradients of shared weights are combined", None
    ),
    "sample_spaces": Key(
        optional(SAMPLE_SPACES), "label -> label whose 1 makes a row one of its samples", None
    ),
    "sample_weight": Key(optional(TEXT), "column of label_col that weighs the losses' rows", None),
    "metrics": Key(
        one_or_list(choice(METRICS)), "metrics that the tasks report", ["logloss", "AUC"]
    ),
    "monitor": Key(
        optional(MONITOR), "metric that decides early stopping, or a mapping to weights", None
    ),
    "monitor_mode": Key(
        optional(choice(["max", "min"])), "direction of the monitor, by default the metric's", None
    ),
    "early_stop_patience": Key(whole(1), "evaluations without improvement before the stop", 2),
    "reduce_lr_on_plateau": Key(BOOLEAN, "a tenth of the learning rate without improvement", True),
    "save_best_only": Key(
        BOOLEAN, "False keeps the last weights, too, as model_last beside the best ones", True
    ),
    "eval_steps": Key(optional(whole(1)), "steps between evaluations; null for an epoch", None),
    "epochs": Key(whole(1), "the most passes over the training split", 1),
    "batch_size": Key(whole(1), "samples a step", 4096),
    "shuffle": Key(BOOLEAN, "shuffle the training split every epoch", True),
    "seed": Key(whole(0, 2**32 - 1), "seed of weights and order", 2023),
    "optimizer": Key(choice(OPTIMIZERS), "optimizer of torch.optim", "adam"),
    "learning_rate": Key(number(above=0), "learning rate", 1e-3),
    "row_sparse": Key(BOOLEAN, "update only the rows of tables that a batch holds", False),
    "precision": Key(choice(PRECISIONS), "precision of the matrix products", FP32),
    "max_gradient_norm": Key(number(above=0), "norm to which gradients are clipped", 10.0),
    "embedding_regularizer": Key(REGULARIZER, "penalty on embeddings", None),
    "net_regularizer": Key(REGULARIZER, "penalty on all other weights", None),
    "embedding_dim": Key(_WIDTH, "width of an embedding", 10),
    "embedding_initializer": Key(INITIALIZER, "initializer of the embeddings"),
    "group_id": Key(optional(TEXT), "column of the groups of gAUC", None),
    "use_features": Key(optional(list_of(TEXT, 1)), "features to use; null for all", None),
    "feature_specs": Key(
        optional(list_of(Kind("a mapping with a name", PLAIN_MAPPING.read))),
        "changes to columns for this experiment",
        None,
    ),
    "model_root": Key(PATH, "folder of checkpoints, logs and results", "./checkpoints/"),
    "verbose": Key(whole(0, 2), "0 for no progress bars", 1),
    "save_predictions": Key(BOOLEAN, "write the predictions of valid and test as parquet", False),
    "prediction_columns": Key(
        optional(list_of(TEXT, 1)), "columns of the files that saved predictions get, too", None
    ),
    "state_steps": Key(optional(whole(1)), "steps between two training states", None),
    "state_minutes": Key(optional(number(above=0)), "minutes between two training states", 10.0),
    "states_kept": Key(whole(1), "training states that are kept", 2),
    "memory_budget": Key(
        optional(whole(1)),
        "bytes that a split may take in memory; by default the splits share half of what training leaves",
    ),
    "file_locks": Key(
        BOOLEAN,
        "end where a file system has no locks; False goes on there, where nothing then keeps runs apart "
        "that share data_root or model_root",
        True,
    ),
    "num_workers": Key(whole(0), "FuxiCTR's; of no effect here", 3),
    "pickle_feature_encoder": Key(BOOLEAN, "FuxiCTR's; of no effect here"),
    "debug_mode": Key(BOOLEAN, "FuxiCTR's tuner reads it; of no effect on a run"),
    "feature_config": Key(NULL, "FuxiCTR's; null"),
}

# Parameters of models, by name; a name may begin or end with *. The first that fits decides.
MODEL: dict[str, Key] = {
    "expert_hidden_units": Key(list_of(_WIDTH, 1), "widths of an expert's layers"),
    "*_hidden_units": Key(list_of(_WIDTH), "widths of hidden layers"),
    "hidden_activations": Key(
        one_or_list(optional(ACTIVATION)), "activation, one for all hidden layers or a list"
    ),
    "net_dropout": Key(
        one_or_list(number(0, below=1)), "dropout, one for all hidden layers or a list"
    ),
    "num_*layers": Key(_DEPTH, "a number of layers"),
    "num_*experts": Key(_DEPTH, "a number of experts"),
    "num_*": Key(whole(1), "a number of whatever the model has"),
    "batch_norm": Key(BOOLEAN, "batch-normalise hidden layers"),
    "gate_input": Key(choice(["task_plus_shared", "task"]), "what STEM's gates read"),
    "isolate_shared_gate": Key(BOOLEAN, "keep tasks' gradients apart at any depth"),
    "auxiliary_labels": Key(list_of(TEXT, 1), "labels that only help the others"),
    "shared_gate_reads": Key(choice(["all", "shared"]), "what PLE's shared gate reads"),
    "calibrator_weight": Key(number(0), "weight of AITM's calibrator in the loss"),
    "click_label": Key(TEXT, "ESMM's label of the first step, such as the click"),
    "conversion_label": Key(TEXT, "ESMM's label of the second step, nested in the first"),
    "*": Key(PLAIN, "a parameter of the model"),
}

_FILES = (
    "a file, a folder of parts, or a pattern (** for any depth); names that begin with . or _ are left "
    "out; a column that the files lack is read from folders named column=value"
)

_STREAMED = (
    "Leave it out: a split is one file here, and is streamed by itself where it does not fit "
    "memory_budget (of the experiment, in bytes)."
)
_ENCODED = (
    "Files that FuxiCTR has encoded hold its ids. Name the files that they were made from; or write "
    "the arrays as parquet, declare ids as dtype: int, type: categorical, and they are numbered again."
)

DATASET: dict[str, Key] = {
    "dataset_id": Key(TEXT, "FuxiCTR's tuner writes it; the id is the name of the entry"),
    "data_root": Key(PATH, "folder of the caches", "./data/"),
    "data_format": Key(choice(["csv", "parquet"], _ENCODED), "format of the split files", "csv"),
    "train_data": Key(PATH, f"training split: {_FILES}", REQUIRED),
    "valid_data": Key(PATH, f"validation split: {_FILES}", REQUIRED),
    "test_data": Key(optional(PATH), f"test split: {_FILES}", None),
    "sep": Key(SPECIAL_CHARACTER, r'separator of CSV files, also of .tsv, which need "\t"', ","),
    "csv_quote": Key(
        optional(SPECIAL_CHARACTER),
        """around fields of CSV files, by default '"'; null for no quoting""",
    ),
    "csv_escape": Key(
        optional(SPECIAL_CHARACTER),
        "before a character of CSV files that is taken as it is; by default none",
    ),
    "null_values": Key(
        list_of(STRING), "fields of CSV files that mean a missing value, beside empty ones"
    ),
    "min_categr_count": Key(whole(1), "least count of a token that gets an id of its own", 1),
    "feature_cols": Key(Kind("a list of mappings", lambda v: v), "the features", REQUIRED),
    "label_col": Key(Kind("a mapping or a list of mappings", lambda v: v), "the labels", REQUIRED),
    "group_id": Key(optional(TEXT), "column of the groups of gAUC"),
    "source": Key(optional(PLAIN_MAPPING), "facts of the source, for people"),
    "prepare": Key(optional(PLAIN_MAPPING), "how the split files come from official raw files"),
    # FuxiCTR's: only what they are without a word.
    "rebuild_dataset": Key(choice([True], _ENCODED), "FuxiCTR's; the cache knows when to rebuild"),
    "data_block_size": Key(choice([0], _STREAMED), "FuxiCTR's; the cache is one file a split"),
}

# Options of the preparers are theirs to check.
PREPARE: dict[str, Key] = {
    "preparer": Key(TEXT, "name of the preparer", REQUIRED),
    "raw_dir": Key(PATH, "folder of the official raw files", REQUIRED),
    "stand_in": Key(optional(TEXT), "dataset to run where the raw files are absent"),
}

DTYPES = ("str", "int", "float")
_IDS = (CATEGORICAL, SEQUENCE)
_FIELDS = (CATEGORICAL, SEQUENCE, NUMERIC, EMBEDDING)

FEATURE: dict[str, Key] = {
    "name": Key(one_or_list(TEXT), "name of the column, or of several alike", REQUIRED),
    "active": Key(BOOLEAN, "whether the column is used", True),
    "type": Key(choice(COLUMN_TYPES), "what the column is", REQUIRED),
    "dtype": Key(choice(DTYPES), "what its values are in the files", REQUIRED),
    "source": Key(STRING, "FuxiCTR's group of features"),
    "fill_na": Key(PLAIN, "value for missing ones"),
    "preprocess": Key(
        optional(FEATURE_SOURCE), "copy another column, or make it by a function of a package"
    ),
    "remap": Key(BOOLEAN, "number the values; False keeps a meta column's integers"),
    "min_categr_count": Key(whole(1), "as for the dataset, for this column", types=_IDS),
    "embedding_dim": Key(_WIDTH, "width of its embedding", types=_FIELDS),
    "emb_output_dim": Key(_WIDTH, "width after its encoder", types=_FIELDS),
    "feature_encoder": Key(ENCODER, "pooling of a sequence, linear maps", types=_FIELDS),
    "share_embedding": Key(optional(TEXT), "earlier column whose table it reads", types=_IDS),
    "pretrained_emb": Key(optional(PRETRAINED_FILE), "file of pretrained vectors", types=_IDS),
    "pretrain_dim": Key(
        _WIDTH, "width of given vectors; by default embedding_dim", types=(*_IDS, EMBEDDING)
    ),
    "pretrain_usage": Key(choice(["init", "sum", "concat"]), "use of the vectors", types=_IDS),
    "freeze_emb": Key(BOOLEAN, "keep the vectors as they are", types=_IDS),
    "normalizer": Key(
        optional(choice(["StandardScaler", "MinMaxScaler"])), "scaling", types=(NUMERIC,)
    ),
    "splitter": Key(SPLITTER, "between tokens", types=(SEQUENCE,)),
    "max_len": Key(
        whole(0, 2**20), "the most tokens; 0 for the longest of train", types=(SEQUENCE,)
    ),
    "padding": Key(choice(["pre", "post"]), "side of padding and of cutting", types=(SEQUENCE,)),
}

LABEL: dict[str, Key] = {
    "name": FEATURE["name"],
    "dtype": Key(choice(["int", "float"]), "what its values are in the files", REQUIRED),
    "active": Key(choice([True]), "FuxiCTR's; choose labels by task_labels"),
    "preprocess": Key(
        optional(LABEL_SOURCE), "copy another column, or be 1 where two labels both are"
    ),
    "parent": Key(optional(TEXT), "label without which this one is 0"),
    "fill_na": Key(number(), "value for missing ones"),
    "missing": Key(MISSING, "value that says that a row has no such label"),
}

SPEC: dict[str, Key] = {
    key: FEATURE[key]
    for key in (
        "name",
        "source",
        "embedding_dim",
        "emb_output_dim",
        "feature_encoder",
        "pretrain_usage",
        "freeze_emb",
    )
}

# Keys that are known and refused, with the reason and the next step.
_BUCKETS = "FuxiCTR 2.3.10 cannot encode the rows of such a column. Bucket the values beforehand."
_OWN_SPLITS = "FuxiCTR 2.3.10 cannot split the data itself. Name the files of the splits."
REFUSED: Mapping[str, str] = {
    "category_processor": _BUCKETS,
    "num_buckets": _BUCKETS,
    "vocab_size": "The vocabulary is counted on the training split. Leave it out.",
    "valid_size": _OWN_SPLITS,
    "test_size": _OWN_SPLITS,
    "split_type": _OWN_SPLITS,
    "streaming": _STREAMED,
    "partition_block_size": _STREAMED,
    "use_hdf5": "Leave it out: the cache is used again while config and files are the same.",
    "gpu": "The device is given on the command line: --gpu N.",
    "model_id": "The experiment's id is its model_id. Leave it out.",
}

# Keys of older versions of FuxiCTR, or of its documentation, with the next step.
RENAMED: Mapping[str, str] = {
    **{
        old: f"Write {new}."
        for old, new in {
            "na_value": "fill_na",
            "patience": "early_stop_patience",
            "workers": "num_workers",
            "encoder": "feature_encoder",
            "debug": "debug_mode",
            "ordered_features": "use_features",
        }.items()
    },
    "every_x_epochs": "Write eval_steps, which counts steps; null is once an epoch.",
}
