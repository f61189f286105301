"""Messages to users arrive as they were written."""

import inspect
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from fuxictr_stem import errors, registry
from fuxictr_stem.data.preparers import runner
from fuxictr_stem.errors import (
    AccessError,
    ConfigError,
    DataError,
    OutputError,
    TrainingError,
    UserError,
)
from tests.support.small_models import feature_map

KINDS = [AccessError, ConfigError, DataError, OutputError, TrainingError]


def test_no_handler_of_system_or_library_errors_catches_ours():
    own = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert {kind for kind in own if issubclass(kind, UserError)} == {UserError, *KINDS}
    for kind in KINDS:
        assert not issubclass(kind, (OSError, RuntimeError, TypeError, LookupError))


@pytest.mark.parametrize("kind", KINDS)
def test_a_models_own_message_is_not_put_in_other_words(kind, monkeypatch):
    text = "pretrained_emb: the file cannot allocate what it says"

    class Refusing:
        def __init__(self, feature_map, **params):
            raise kind(text)

    monkeypatch.setattr(registry, "get_model", lambda name: Refusing)
    with pytest.raises(UserError) as caught:
        registry.build_model(
            {"model": "R", "model_id": "exp", "task_labels": ["y0"]}, feature_map()
        )
    assert type(caught.value) is kind
    assert str(caught.value) == text


def test_a_record_that_cannot_be_written_is_named_once(tmp_path, monkeypatch):
    """Its message names the file; it was taken for an error of moving the splits, and told again."""
    text = "The file prepared.json cannot be written: [Errno 28] No space left on device."

    def full(folder, record):
        raise OutputError(text)

    def write_splits(raw, raw_dir, options, writer):
        writer.write(pl.DataFrame({"a": [1, 2, 3]}), np.array([0, 1, 2]))

    monkeypatch.setattr(runner, "write_record", full)
    job = SimpleNamespace(
        find_raw=list,
        recipe=lambda raw: {},
        folder=tmp_path,
        dataset_id="toy",
        paths={split: tmp_path / f"{split}.csv" for split in ("train", "valid", "test")},
        labels=[],
        options=None,
        raw_dir=tmp_path,
        preparer=SimpleNamespace(write_splits=write_splits),
    )
    with pytest.raises(OutputError) as caught:
        runner._prepare(job)
    assert str(caught.value) == text
