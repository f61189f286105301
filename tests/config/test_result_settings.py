"""Which settings decide a result, and the same under a later version."""

from __future__ import annotations

import pytest

from fuxictr_stem.config.result_settings import check_settings
from fuxictr_stem.errors import ConfigError


def settings_of(**changes):
    column = {"name": "user", "type": "categorical", "dtype": "str", "active": True}
    given = {"model": "STEMNet", "batch_size": 64, "feature_cols": [column], "data": "0123"}
    return {**given, **changes}


def test_resume_goes_on_where_a_later_version_has_more_keys():
    before = settings_of()
    check_settings(
        before, settings_of(early_stop_patience=2, gate_input="task_plus_shared"), "state"
    )
    with pytest.raises(ConfigError, match="early_stop_patience: None then, 3 now"):
        check_settings(before, settings_of(early_stop_patience=3), "state")
    with pytest.raises(ConfigError, match="batch_size: 4096 then, 64 now"):
        check_settings(settings_of(batch_size=4096), before, "state")
