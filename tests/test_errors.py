"""Messages to users arrive as they were written."""

import inspect

import pytest

from fuxictr_stem import errors
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

KINDS = [AccessError, ConfigError, DataError, OutputError, TrainingError]


def test_no_handler_of_system_or_library_errors_catches_ours():
    own = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert {kind for kind in own if issubclass(kind, UserError)} == {UserError, *KINDS}
    for kind in KINDS:
        assert not issubclass(kind, (OSError, RuntimeError, TypeError, LookupError))


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
