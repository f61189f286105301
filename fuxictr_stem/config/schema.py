"""Every key that a config may hold: what it must be, what it means, and what it is by default."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, SkipValidation
from pydantic.fields import FieldInfo

from fuxictr_stem.config import column_words as words
from fuxictr_stem.config import value_types as kinds
from fuxictr_stem.layers.experts import GateInput
from fuxictr_stem.layers.gates import SharedGateReads
from fuxictr_stem.metrics import METRICS, TASKS
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.training.balancing import METHODS
from fuxictr_stem.training.precision import EXCHANGE_PRECISIONS, FP32, PRECISIONS
from fuxictr_stem.training.task_loss import LOSSES
from fuxictr_stem.training.trackers.adapters import TRACKERS

REQUIRED: Any = ...
ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "ABSENT"})()
"""The default of a key that stays away where the config does not name it."""


class Shape(BaseModel):
    """A mapping of a config: its fields are the keys there are.

    Fields are read one by one (`read_keys`), so that all problems come at once; as a whole a shape is the
    JSON schema of an editor. Mappings within it (`SkipValidation`) are read by whoever reads it.
    """

    model_config = ConfigDict(
        strict=True, extra="forbid", protected_namespaces=(), defer_build=True
    )


def key(meaning: str, default: Any = ABSENT, columns: tuple[str, ...] = ()) -> Any:
    """Return the field of a key: what it decides, in one line, and the column types it is for, if not all.

    The default is its value where the config names none; `REQUIRED`; or `ABSENT` to leave it out.
    """
    extra: Any = {"columns": list(columns)} if columns else None
    return Field(default, description=meaning, json_schema_extra=extra)


def column_types(field: FieldInfo) -> list[str]:
    """Return the column types that a key of a column is for; none if it is for all."""
    extra: Any = field.json_schema_extra or {}
    return extra.get("columns", [])


def defaults_of(function: Callable[..., Any]) -> SimpleNamespace:
    """Return the defaults of a function's arguments, which are written in its signature only."""
    arguments = inspect.signature(function).parameters.items()
    return SimpleNamespace(**{name: argument.default for name, argument in arguments})


NET = defaults_of(MultiTaskNet)
SEED = 2023

_Metric = Annotated[str, kinds.OneOf(METRICS)]
_Task = Annotated[str, kinds.OneOf(TASKS)]
_Loss = Annotated[str, kinds.OneOf(LOSSES)]
_Tracker = Annotated[str, kinds.OneOf(TRACKERS)]
_Activations = kinds.OneOrSeveral[kinds.Activation | None]
_Shares = kinds.OneOrSeveral[kinds.Share]
_FeatureChange = Annotated[kinds.PlainMapping, kinds.named("a mapping with a name", type="object")]


class Experiment(Shape):
    """An experiment, in model_config."""

    model: kinds.Text = key("name of the model", REQUIRED)
    dataset_id: kinds.Text = key("name of the dataset", REQUIRED)
    task_labels: kinds.Several[kinds.Text] | None = key(
        "labels to train, in order; null for all labels of the files", NET.task_labels
    )
    task: kinds.OneOrSeveral[_Task] = key("task type, one for all labels or a list", NET.task)
    num_tasks: kinds.Count | None = key("number of tasks; it is only checked", NET.num_tasks)
    loss: kinds.OneOrSeveral[_Loss] | None = key("loss; by default that of the task type", NET.loss)
    loss_weight: kinds.LossWeight = key("how the tasks' losses are weighted", NET.loss_weight)
    gradient_balancing: Annotated[str, kinds.OneOf(METHODS)] | None = key(
        "how the tasks' gradients of shared weights are combined", NET.gradient_balancing
    )
    sample_spaces: kinds.SampleSpaces | None = key(
        "a label's samples are only the rows where another label is 1", NET.sample_spaces
    )
    sample_weight: kinds.Text | None = key(
        "column of label_col that weighs the rows", NET.sample_weight
    )
    metrics: kinds.OneOrSeveral[_Metric] = key("metrics that the tasks report", list(NET.metrics))
    monitor: kinds.Monitor | None = key(
        "metric that decides early stopping, or a mapping of metrics to weights", None
    )
    monitor_mode: Annotated[str, kinds.OneOf(("max", "min"))] | None = key(
        "whether a high or a low monitor is better, by default as for its metric", None
    )
    early_stop_patience: kinds.Count = key("evaluations without improvement before stopping", 2)
    reduce_lr_on_plateau: bool = key("divide the learning rate by 10 without improvement", True)
    save_best_only: bool = key(
        "False also keeps the last weights, as model_last, next to the best ones", True
    )
    eval_steps: kinds.Count | None = key("steps between evaluations; null: once per epoch", None)
    epochs: kinds.Count = key("maximum number of passes over the training split", 1)
    batch_size: kinds.Count = key("samples per step", 4096)
    shuffle: bool = key("shuffle the training split every epoch", True)
    seed: kinds.Seed = key("seed of the first weights and the order of rows", SEED)
    optimizer: Annotated[str, kinds.OneOf(kinds.OPTIMIZERS)] = key(
        "optimizer of torch.optim", NET.optimizer
    )
    learning_rate: kinds.PositiveNumber = key("learning rate", NET.learning_rate)
    row_sparse: bool = key("update only the table rows that a batch contains", NET.row_sparse)
    precision: Annotated[str, kinds.OneOf(PRECISIONS)] = key(
        "precision of the matrix products", NET.precision
    )
    exchange_precision: Annotated[str, kinds.OneOf(EXCHANGE_PRECISIONS)] = key(
        "format in which several processes send each other table rows in training: fp32 is exact, "
        "bf16 and fp16 halve the bytes (gradients are then sent as bf16)",
        FP32,
    )
    max_gradient_norm: kinds.PositiveNumber = key(
        "norm to which gradients are clipped", NET.max_gradient_norm
    )
    embedding_regularizer: kinds.Penalty = key("penalty on embeddings", None)
    net_regularizer: kinds.Penalty = key("penalty on all other weights", None)
    embedding_dim: kinds.Width = key("width of an embedding", NET.embedding_dim)
    embedding_initializer: kinds.Initializer = key("initializer of the embeddings")
    group_id: kinds.Text | None = key("column of the groups of gAUC, such as the user", None)
    use_features: kinds.Several[kinds.Text] | None = key("features to use; null for all", None)
    feature_specs: list[_FeatureChange] | None = key("changes to columns for this experiment", None)
    model_root: kinds.FilePath = key("folder of checkpoints, logs and results", NET.model_root)
    verbose: Annotated[int, Field(ge=0, le=2)] = key("0 for no progress bars", 1)
    save_predictions: bool = key("write the predictions of valid and test as parquet", False)
    prediction_columns: kinds.Several[kinds.Text] | None = key(
        "columns of the files to add to saved predictions", None
    )
    state_steps: kinds.Count | None = key("steps between two training states", None)
    state_minutes: kinds.PositiveNumber | None = key("minutes between two training states", 10.0)
    states_kept: kinds.Count = key("number of training states to keep", 2)
    memory_budget: kinds.Count | None = key(
        "bytes of memory for a split; by default the splits share half of what training leaves free"
    )
    file_locks: bool = key(
        "stop if the file system has no locks; with False, continue, without a guard between runs "
        "that share data_root or model_root",
        True,
    )
    tracker: kinds.OneOrSeveral[_Tracker] | None = key(
        "services that show the run while it trains, one or a list; each is an extra to install",
        None,
    )
    tracker_steps: kinds.Count = key(
        "steps between two points that a tracker gets; each evaluation adds one", 50
    )
    tracker_group: kinds.Text | None = key(
        "name under which a tracker groups runs; a benchmark sets its own", None
    )
    build_together: bool = key(
        "several processes build the cache together; by default the first one builds it and the "
        "others wait",
        False,
    )
    num_workers: kinds.CountOrZero = key("for FuxiCTR; has no effect here", 3)
    pickle_feature_encoder: bool = key("for FuxiCTR; has no effect here")
    debug_mode: bool = key("for FuxiCTR's tuner; has no effect on a run")
    feature_config: None = key("for FuxiCTR")


def parameter(kind: Any, meaning: str, default: Any = ABSENT) -> FieldInfo:
    """Return the field of a model's parameter."""
    return FieldInfo.from_annotated_attribute(kind, key(meaning, default))


# Parameters of models, by name; a name may begin or end with *. The first that fits decides.
MODEL: dict[str, FieldInfo] = {
    "expert_hidden_units": parameter(kinds.Several[kinds.Width], "widths of an expert's layers"),
    "*_hidden_units": parameter(list[kinds.Width], "widths of hidden layers"),
    "hidden_activations": parameter(
        _Activations, "activation, one for all hidden layers or a list"
    ),
    "net_dropout": parameter(_Shares, "dropout, one for all hidden layers or a list"),
    "num_*layers": parameter(kinds.Depth, "number of layers"),
    "num_*experts": parameter(kinds.Depth, "number of experts"),
    "num_*": parameter(kinds.Count, "number of other parts of the model"),
    "batch_norm": parameter(bool, "batch-normalise hidden layers"),
    "gate_input": parameter(
        Annotated[str, kinds.OneOf(get_args(GateInput))], "what STEM's gates read"
    ),
    "isolate_shared_gate": parameter(bool, "keep tasks' gradients apart at any depth"),
    "auxiliary_labels": parameter(kinds.Several[kinds.Text], "labels that only help the others"),
    "shared_gate_reads": parameter(
        Annotated[str, kinds.OneOf(get_args(SharedGateReads))], "what PLE's shared gate reads"
    ),
    "calibrator_weight": parameter(kinds.NumberOrZero, "weight of AITM's calibrator in the loss"),
    "click_label": parameter(kinds.Text, "ESMM's label of the first step, such as the click"),
    "conversion_label": parameter(
        kinds.Text, "ESMM's label of the second step, nested in the first"
    ),
    "*": parameter(kinds.PlainValue, "a parameter of the model"),
}


def model_parameter(name: str) -> FieldInfo:
    """Return the first field of `MODEL` whose name fits."""
    return next(field for pattern, field in MODEL.items() if fnmatchcase(name, pattern))


_FIELDS = (words.CATEGORICAL, words.SEQUENCE, words.NUMERIC, words.EMBEDDING)
_IDS = (words.CATEGORICAL, words.SEQUENCE)
_SEQUENCES = (words.SEQUENCE,)


class Feature(Shape):
    """An entry of a dataset's feature_cols."""

    name: kinds.OneOrSeveral[kinds.Text] = key("name of one column, or of several", REQUIRED)
    active: bool = key("whether the column is used", True)
    type: Annotated[str, kinds.OneOf(words.COLUMN_TYPES)] = key("what the column is", REQUIRED)
    dtype: Annotated[str, kinds.OneOf(words.DTYPES)] = key(
        "what its values are in the files", REQUIRED
    )
    source: str = key("FuxiCTR's group of features")
    fill_na: kinds.PlainValue = key("value that replaces a missing one")
    preprocess: kinds.FeatureSource | None = key(
        "copy another column, or compute it by a function of an installed package"
    )
    remap: bool = key("number the values; False keeps the integers of a meta column")
    min_categr_count: kinds.Count = key("as for the dataset, for this column only", columns=_IDS)
    embedding_dim: kinds.Width = key("width of its embedding", columns=_FIELDS)
    emb_output_dim: kinds.Width = key("width after its encoder", columns=_FIELDS)
    feature_encoder: kinds.Encoder = key("pooling of a sequence, or linear layers", columns=_FIELDS)
    share_embedding: kinds.Text | None = key("earlier column whose table it shares", columns=_IDS)
    pretrained_emb: kinds.PretrainedFile | None = key("file of pretrained vectors", columns=_IDS)
    pretrain_dim: kinds.Width = key(
        "width of the vectors; by default embedding_dim", columns=(*_IDS, words.EMBEDDING)
    )
    pretrain_usage: Annotated[str, kinds.OneOf(("init", "sum", "concat"))] = key(
        "how pretrained vectors are used", columns=_IDS
    )
    freeze_emb: bool = key("do not train the pretrained vectors", columns=_IDS)
    normalizer: Annotated[str, kinds.OneOf(("StandardScaler", "MinMaxScaler"))] | None = key(
        "how numbers are scaled", columns=(words.NUMERIC,)
    )
    splitter: kinds.Splitter = key("text between two tokens", columns=_SEQUENCES)
    max_len: Annotated[int, Field(ge=0, le=2**20)] = key(
        "maximum number of tokens; 0 for the longest in train", columns=_SEQUENCES
    )
    padding: Annotated[str, kinds.OneOf(("pre", "post"))] = key(
        "side on which sequences are padded and cut", columns=_SEQUENCES
    )


class Label(Shape):
    """An entry of a dataset's label_col."""

    name: kinds.OneOrSeveral[kinds.Text] = key("name of the column, or of several alike", REQUIRED)
    dtype: Annotated[str, kinds.OneOf(("int", "float"))] = key(
        "what its values are in the files", REQUIRED
    )
    active: Annotated[bool, kinds.OneOf((True,))] = key("for FuxiCTR; choose labels by task_labels")
    preprocess: kinds.LabelSource | None = key(
        "copy another column, or be 1 where two labels are both 1"
    )
    parent: kinds.Text | None = key("label that is 1 wherever this one is 1")
    fill_na: kinds.Number = key("value that replaces a missing one")
    missing: kinds.Missing = key("value that means that a row has no such label")


class Prepare(Shape):
    """How a dataset's split files come from official raw files; options of the preparer join these."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, kinds.PlainValue] = Field(init=False)

    preparer: kinds.Text = key("name of the preparer", REQUIRED)
    raw_dir: kinds.FilePath = key("folder of the official raw files", REQUIRED)
    stand_in: kinds.Text | None = key("dataset to run where the raw files are absent")


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


class Dataset(Shape):
    """A dataset, in dataset_config."""

    dataset_id: kinds.Text = key("written by FuxiCTR's tuner; the id is the name of the entry")
    data_root: kinds.FilePath = key("folder of the caches", "./data/")
    data_format: Annotated[str, kinds.OneOf(("csv", "parquet"), _ENCODED)] = key(
        "format of the split files", "csv"
    )
    train_data: kinds.FilePath = key(f"training split: {_FILES}", REQUIRED)
    valid_data: kinds.FilePath = key("validation split, named like train_data", REQUIRED)
    test_data: kinds.FilePath | None = key("test split, named like train_data", None)
    sep: kinds.SpecialCharacter = key(r'separator of CSV files, also of .tsv, which need "\t"', ",")
    csv_quote: kinds.SpecialCharacter | None = key(
        """character around fields of CSV files, by default '"'; null for no quoting"""
    )
    csv_escape: kinds.SpecialCharacter | None = key(
        "character of CSV files that takes the next one literally; by default none"
    )
    null_values: list[str] = key(
        "texts in CSV files that mean a missing value, in addition to empty fields"
    )
    min_categr_count: kinds.Count = key(
        "how often a token must occur in train to get an id of its own", 1
    )
    feature_cols: SkipValidation[list[Feature]] = key("the features", REQUIRED)
    label_col: SkipValidation[Label | list[Label]] = key("the labels", REQUIRED)
    group_id: kinds.Text | None = key("column of the groups of gAUC, such as the user")
    source: kinds.PlainMapping | None = key(
        "facts about the source, such as its published numbers of rows"
    )
    prepare: SkipValidation[Prepare | None] = key(
        "how the split files come from official raw files"
    )
    # FuxiCTR's keys, of which only the value that they have anyway is allowed.
    rebuild_dataset: Annotated[bool, kinds.OneOf((True,), _ENCODED)] = key(
        "for FuxiCTR; the cache is rebuilt when needed"
    )
    data_block_size: Annotated[int, kinds.OneOf((0,), _STREAMED)] = key(
        "for FuxiCTR; the cache has one file per split"
    )


# What an experiment may change in a column.
FEATURE_CHANGES = {
    name: Feature.model_fields[name]
    for name in (
        *("name", "source", "embedding_dim", "emb_output_dim", "feature_encoder"),
        *("pretrain_usage", "freeze_emb"),
    )
}

# Keys that are known and rejected, with the reason and the next step.
_BUCKETS = "FuxiCTR 2.3.10 cannot encode such a column. Bucket the values beforehand."
_OWN_SPLITS = "FuxiCTR 2.3.10 cannot split the data itself. Name the files of the splits."
REJECTED: Mapping[str, str] = {
    "category_processor": _BUCKETS,
    "num_buckets": _BUCKETS,
    "vocab_size": "The vocabulary is counted on the training split. Leave it out.",
    "valid_size": _OWN_SPLITS,
    "test_size": _OWN_SPLITS,
    "split_type": _OWN_SPLITS,
    "streaming": _STREAMED,
    "partition_block_size": _STREAMED,
    "use_hdf5": "Leave it out: the cache is reused as long as config and files are the same.",
    "gpu": "The device is given on the command line: --gpu N.",
    "model_id": "The experiment's id is its model_id. Leave it out.",
}

# Keys of older versions of FuxiCTR, or of its documentation, with the next step.
RENAMED: Mapping[str, str] = {
    "na_value": "Write fill_na.",
    "patience": "Write early_stop_patience.",
    "workers": "Write num_workers.",
    "encoder": "Write feature_encoder.",
    "debug": "Write debug_mode.",
    "ordered_features": "Write use_features.",
    "every_x_epochs": "Write eval_steps, which counts steps; null is once an epoch.",
}
