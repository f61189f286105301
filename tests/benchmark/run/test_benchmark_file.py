"""The keys of a benchmark file: what each may be, and what it is by default."""

import pytest

from fuxictr_stem.benchmark.run.benchmark_file import BenchmarkFile, Slices
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_keys

NEEDED = {"dataset_id": "toy", "experiments": "*_toy", "seeds": [1]}
LABELS = {"labels": ["like", "view"]}


def read(shape, values):
    """What a shape makes of values, and the problems."""
    problems = Problems()
    return read_keys(shape.model_fields, values, problems), problems.lines


def test_a_short_file_is_complete():
    values, lines = read(BenchmarkFile, NEEDED)
    assert not lines
    assert values.keys() == BenchmarkFile.model_fields.keys()
    assert values["metrics"] == ["AUC", "gAUC", "logloss"]
    assert (values["sampler"], values["trials"], values["threads"]) == ("grid", None, 1)
    values, lines = read(Slices, LABELS)
    assert not lines
    assert values.keys() == Slices.model_fields.keys()


def test_what_is_missing_is_named_in_one_message():
    _, lines = read(BenchmarkFile, {})
    assert sorted(line.split(":")[0] for line in lines) == sorted(NEEDED)
    assert all("is missing. Add it: " in line for line in lines)


@pytest.mark.parametrize(
    ("shape", "key", "value", "said"),
    [
        (BenchmarkFile, "seeds", [1, 1], "must be a list of different seeds"),
        (BenchmarkFile, "seeds", [], "must be a list of different seeds"),
        (BenchmarkFile, "metrics", ["AUCC"], "Did you mean 'AUC' or "),
        (BenchmarkFile, "sampler", "gird", "Did you mean 'grid'?"),
        (BenchmarkFile, "resamples", 99, "must be a whole number from 100 to 10000"),
        (BenchmarkFile, "resamples", 10_001, "must be a whole number from 100 to 10000"),
        (BenchmarkFile, "threads", 0, "must be a whole number >= 1"),
        (BenchmarkFile, "search", {"lr": 0.1}, "Give each key a list of values, or a range"),
        (BenchmarkFile, "experiment_settings", {"a": 1}, "must be a mapping of ids or patterns"),
        (BenchmarkFile, "seed", [1], "is not a known key. Did you mean 'seeds'?"),
        (Slices, "labels", ["like", "like"], "must be a list of two different labels"),
        (Slices, "labels", ["a", "b", "c"], "must be a list of two different labels"),
        (Slices, "thresholds", [1, -1], "two numbers, the lower one first"),
        (Slices, "quantiles", [0.5, 1.5], "two numbers from 0 to 1, the lower one first"),
        (Slices, "quantiles", [0.7, 0.3], "two numbers from 0 to 1, the lower one first"),
        (Slices, "smoothing", -1.0, "must be a finite number >= 0"),
        (Slices, "relative_to", "base", "must be one of"),
    ],
)
def test_a_value_that_none_can_be_is_named(shape, key, value, said):
    needed = NEEDED if shape is BenchmarkFile else LABELS
    _, lines = read(shape, {**needed, key: value})
    assert len(lines) == 1
    assert lines[0].startswith(f"{key}: ")
    assert said in lines[0]
