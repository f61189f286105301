"""The versions of the software that a number depends on."""

from __future__ import annotations

import platform

import fuxictr
import h5py
import numpy
import polars
import torch

from fuxictr_stem.version import __version__


def versions() -> dict[str, str]:
    """Return the versions that a number depends on."""
    modules = (fuxictr, torch, polars, numpy, h5py)
    of_modules = {module.__name__: str(module.__version__) for module in modules}
    return {"python": platform.python_version(), "fuxictr_stem": __version__, **of_modules}
