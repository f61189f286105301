"""Messages to users arrive as they were written."""

import inspect

import pytest

from fuxictr_stem import errors, registry
from fuxictr_stem.data.preparers import run_job
from fuxictr_stem.data.preparers.run_job import prepare
from fuxictr_stem.errors import (
    AccessError,
    ConfigError,
    DataError,
    OutputError,
    TrainingError,
    UserError,
)
from tests.support.raw_files import dataset_in, write_tiktok
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

    def full(path, content):
        raise OutputError(text)

    monkeypatch.setattr(run_job, "write_json", full)
    write_tiktok(tmp_path / "raw", 50)
    with pytest.raises(OutputError) as caught:
        prepare(dataset_in(tmp_path, "tiktok"))
    assert str(caught.value) == text
