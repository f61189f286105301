"""Each key has a meaning, and the default and the rule of the code that takes its value."""

import inspect

import pytest

from fuxictr_stem.analysis.slices import positive_balance
from fuxictr_stem.benchmark.run.benchmark_file import Slices
from fuxictr_stem.config import schema
from fuxictr_stem.config.column_words import COLUMN_TYPES
from fuxictr_stem.config.model_parameters import constructor_parameters
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_value
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.registry import get_model, list_models
from fuxictr_stem.training.trainer import Trainer
from tests.support.small_models import feature_map, small_model

SHAPES = (schema.Experiment, schema.Dataset, schema.Feature, schema.Label, schema.Prepare)
FIELDS = {
    f"{shape.__name__}.{name}": field
    for shape in SHAPES
    for name, field in shape.model_fields.items()
} | {f"MODEL.{name}": field for name, field in schema.MODEL.items()}


def test_a_key_without_a_value_is_a_key_at_its_default():
    problems = Problems()
    for key, field in FIELDS.items():
        if not field.is_required() and field.default is not schema.ABSENT:
            assert read_value(field, field.default, key, problems) == field.default, key
    assert problems.lines == []


def test_each_key_says_in_one_line_what_it_decides():
    for key, field in FIELDS.items():
        assert field.description, key
        assert len(field.description.splitlines()) == 1, key
        assert {*schema.column_types(field)} <= {*COLUMN_TYPES}, key


def test_what_is_rejected_or_has_an_old_name_is_no_key():
    names = {name for shape in SHAPES for name in shape.model_fields}
    assert not names & schema.RENAMED.keys()
    assert not names & schema.REJECTED.keys()


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("expert_hidden_units", "expert_hidden_units"),
        ("gate_hidden_units", "*_hidden_units"),
        ("num_shared_experts", "num_*experts"),
        ("num_heads", "num_*"),
        ("flavour", "*"),
    ],
)
def test_the_first_pattern_that_fits_decides(name, pattern):
    assert schema.model_parameter(name) is schema.MODEL[pattern]


def config_message(field, key, value):
    problems = Problems()
    read_value(field, value, key, problems)
    return "\n".join(problems.lines)


@pytest.mark.parametrize("name", list_models())
def test_a_constructors_default_is_that_of_the_key(name):
    parameters = reversed(list(constructor_parameters(get_model(name))))  # the nearest one decides
    defaults = {parameter.name: parameter.default for _, parameter in parameters}
    shared = defaults.keys() & schema.Experiment.model_fields.keys()
    assert {"task", "optimizer", "learning_rate", "embedding_dim", "max_gradient_norm"} <= shared
    assert {"loss_weight", "gradient_balancing", "metrics", "model_root", "precision"} <= shared
    for key in shared - {"embedding_initializer"}:
        default = defaults[key]
        default = list(default) if isinstance(default, tuple) else default
        assert schema.Experiment.model_fields[key].default == default, key
    assert schema.Experiment.model_fields["embedding_initializer"].default is schema.ABSENT


@pytest.mark.parametrize(
    ("function", "fields", "keys"),
    [
        (Trainer, schema.Experiment.model_fields, ["max_gradient_norm"]),
        (H5Loader, schema.Experiment.model_fields, ["seed"]),
        (
            positive_balance,
            Slices.model_fields,
            ["relative_to", "smoothing", "quantiles", "min_rows"],
        ),
    ],
)
def test_a_functions_default_is_that_of_the_key(function, fields, keys):
    arguments = inspect.signature(function).parameters
    assert [fields[key].default for key in keys] == [arguments[key].default for key in keys]


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        ("STEMNet", "loss_weight", "XX"),
        ("STEMNet", "loss_weight", [-1, 1]),
        ("STEMNet", "loss_weight", {"y0": float("inf"), "y1": 1}),
        ("STEMNet", "gradient_balancing", "UPgrad"),
        ("STEMNet", "task", "binary"),
        ("STEMNet", "precision", "fp8"),
        ("STEMNet", "embedding_dim", 0),
        ("STEMNet", "embedding_dim", 1 << 17),
        ("STEMNet", "num_layers", 0),
        ("STEMNet", "num_layers", 1.5),
        ("STEMNet", "num_shared_experts", -1),
        ("STEMNet", "num_specific_experts", 1001),
        ("STEMNet", "gate_input", "tasks"),
        ("STEMNet", "expert_hidden_units", []),
        ("PLE", "shared_gate_reads", "z"),
        ("MMoE", "num_experts", 0),
    ],
)
def test_a_constructor_and_a_config_reject_a_value_in_the_same_words(model, key, value):
    with pytest.raises(ConfigError) as error:
        small_model(model, feature_map(), **{key: value})
    field = schema.Experiment.model_fields.get(key) or schema.model_parameter(key)
    rule, _, rest = str(error.value).partition(", found ")
    assert rule.startswith(f"{key}: must be ")
    message = config_message(field, key, value)
    assert message.startswith(rule)
    assert message.endswith(rest)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("relative_to", "count"),
        ("smoothing", -1),
        ("smoothing", float("inf")),
        ("min_rows", -1),
        ("thresholds", [1, -1]),
        ("thresholds", [1, 2, 3]),
        ("quantiles", [0.5, 1.5]),
    ],
)
def test_slices_reject_a_value_in_the_same_words(key, value):
    with pytest.raises(ConfigError) as error:
        positive_balance([1, 2], {"a": [1, 0], "b": [0, 1]}, **{key: value})
    assert config_message(Slices.model_fields[key], key, value).startswith(
        str(error.value).partition(", found ")[0]
    )
    with pytest.raises(ConfigError, match="pair: must be a list of two different labels"):
        positive_balance([1, 2], {"a": [1, 0], "b": [0, 1]}, pair=("a", "a"))
    pair = config_message(Slices.model_fields["labels"], "pair", ["a", "a"])
    assert pair.startswith("pair: must be a list of two different labels")
