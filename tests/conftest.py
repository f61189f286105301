"""Fixtures: data that lies outside the project, found through the environment, and quiet logging."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each of several processes with a thread for every core would wait for the others' most of the time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"the environment variable {variable} does not name a folder")
    if not Path(value).is_dir():
        pytest.skip(f"{variable}={value} is not a folder")
    return Path(value)


@pytest.fixture(scope="session")
def stem_data() -> Path:
    """Folder of real impressions (kuairand_pure, tiktok, tiny_mtl)."""
    return _folder("STEM_DATA")


@pytest.fixture(scope="session")
def stem_golden() -> Path:
    """Folder of numbers recorded from the published implementations."""
    return _folder("STEM_GOLDEN")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)
