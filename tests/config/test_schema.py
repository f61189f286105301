"""Each key has a meaning and a default that its own rule accepts."""

import pytest

from fuxictr_stem.config import schema
from fuxictr_stem.config.column_words import COLUMN_TYPES
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_value

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
