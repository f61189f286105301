"""STEM-Net, its AFTB gate and multi-task baselines for FuxiCTR."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fuxictr_stem.registry import get_model, list_models
from fuxictr_stem.runtime.lazy_imports import postpone_slow_imports
from fuxictr_stem.version import __version__

__all__ = ["Run", "__version__", "fit", "get_model", "list_models", "load"]

# Public names and their modules, which take seconds to import: they are, when a name is asked for.
_LATER = {
    "Run": "fuxictr_stem.serving.run",
    "fit": "fuxictr_stem.frames.fit_frames",
    "load": "fuxictr_stem.serving.run",
}

if TYPE_CHECKING:
    from fuxictr_stem.frames.fit_frames import fit
    from fuxictr_stem.serving.run import Run, load
else:

    def __getattr__(name: str) -> Any:
        """Return a public name of `_LATER`."""
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# Before any module imports FuxiCTR's models.
postpone_slow_imports()
