"""The small project that these runs are of; the tests have it, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import kills
from tests.support.kills import LOADERS, Runner, kill_again_and_again, left_by, settings_of, spoil

__all__ = ["LOADERS", "Runner", "kill_again_and_again", "left_by", "make", "settings_of", "spoil"]


def make(folder: Path, loader: str = "memory", **settings: Any) -> Runner:
    """Write a project into a folder and return its runner.

    Args:
        folder: The folder; made.
        loader: ``memory`` or ``streaming``.
        settings: Of the experiment, besides those of every such run.
    """
    return kills.make(folder, **{**settings_of(loader), **settings})
