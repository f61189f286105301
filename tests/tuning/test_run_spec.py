"""The digest of a run changes with all that decides its numbers, and with nothing else."""

import pytest

from fuxictr_stem.config.result_settings import NO_SETTINGS
from fuxictr_stem.tuning.run_spec import Outcomes, RunSpec, run_digest

COLUMN = {"name": "user", "type": "categorical", "dtype": "str", "active": True}
PARAMS = {"model": "STEMNet", "batch_size": 64, "learning_rate": 0.01, "feature_cols": [COLUMN]}
VERSIONS = {"torch": "2", "numpy": "1"}


def digest_of(*others, data="0123", versions=VERSIONS, **changes):
    return run_digest({**PARAMS, **changes}, data, versions, *others)


@pytest.mark.parametrize(
    ("others", "changes"),
    [
        ((), {"data": "0124"}),
        ((), {"versions": {**VERSIONS, "torch": "2.1"}}),
        ((), {"batch_size": 128}),
        ((), {"batch_size": "64"}),
        ((), {"model": "PLE"}),
        ((), {"early_stop_patience": 3}),
        ((), {"a_setting_of_a_later_version": False}),
        ((), {"feature_cols": [{**COLUMN, "dtype": "int"}]}),
        ((), {"feature_cols": [COLUMN, {**COLUMN, "name": "item"}]}),
        ((1,), {}),
    ],
)
def test_it_changes_with_what_decides_the_numbers(others, changes):
    assert digest_of(*others, **changes) != digest_of()


def test_it_changes_with_nothing_else():
    before = digest_of()
    assert len(before) == 12
    assert digest_of(**dict.fromkeys(NO_SETTINGS, "other")) == before
    # A default that is written down, in the config, of the model and of a column.
    assert digest_of(early_stop_patience=2, num_specific_experts=1) == before
    shorter = {key: value for key, value in COLUMN.items() if key != "active"}
    assert digest_of(feature_cols=[shorter]) == before
    turned = dict(reversed(PARAMS.items()))
    assert run_digest(turned, "0123", dict(reversed(VERSIONS.items()))) == before
    assert digest_of(learning_rate=float("nan")) == digest_of(learning_rate=float("nan"))


def test_a_run_is_among_the_outcomes_by_its_key(tmp_path):
    first, second = (
        RunSpec("toy", 1, {"lr": 0.1, "units": [8]}, {}, key, tmp_path, tmp_path) for key in "ab"
    )
    assert str(first) == "toy, seed 1, lr 0.1, units [8]"
    assert first in Outcomes(done={"a": {}})
    assert first in Outcomes(failed={"a": "diverged"})
    assert second not in Outcomes(done={"a": {}}, failed={"c": "diverged"})
