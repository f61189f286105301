"""The small project that these runs are of; the tests have it, too."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT

if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))

_helpers = importlib.import_module("kill_helpers")
LOADERS: tuple[str, ...] = _helpers.LOADERS
Runner: Any = _helpers.Runner
kill_again_and_again: Any = _helpers.kill_again_and_again
left_by: Any = _helpers.left_by
settings_of: Any = _helpers.settings_of
spoil: Any = _helpers.spoil


def make(folder: Path, loader: str = "memory", **settings: Any) -> Any:
    """Write a project into a folder and return its runner.

    Args:
        folder: The folder; made.
        loader: ``memory`` or ``streaming``.
        settings: Of the experiment, beside those of every such run.
    """
    return _helpers.make(folder, **{**settings_of(loader), **settings})
