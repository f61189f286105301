"""A run of forked ranks that saves states."""

import pytest

from tests.support.ranks import Forked


@pytest.fixture
def forked(project, tmp_path):
    project.model |= {"epochs": 6, "state_steps": 7, "early_stop_patience": 9}
    project.write()
    return Forked(tmp_path)
