"""Fixtures: data that lies outside the project, found through the environment, and quiet logging."""

import gc
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each of several processes with a thread for every core would wait for the others' most of the time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from fuxictr_stem.layers import device
from fuxictr_stem.runtime import memory_shares as planned
from tests.support import processes  # noqa: F401  sets what its processes begin with
from tests.support.crashes import Toy
from tests.support.project import Project


def pytest_collection_finish() -> None:
    """Keep what was imported out of each run's collection of garbage, which took half of a small run."""
    gc.freeze()


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


@pytest.fixture(autouse=True, scope="session")
def _no_other_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Plan memory as if no other process of this machine did."""
    planned.FOLDER = tmp_path_factory.mktemp("planned")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


@pytest.fixture
def root_logging() -> Iterator[None]:
    """Keep the root logger: a run in this process hangs handlers on it and sets its level."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(before):
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root_logging: None) -> Project:
    """A small experiment in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Toy]:
    """Make projects whose runs can crash at any step: `toy(name, **settings)`."""

    def new(name: str = "toy", **settings: object) -> Toy:
        return Toy(tmp_path / name, monkeypatch, **settings)

    return new


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have all tensors count as lying on a device."""

    def switch(on: bool = True) -> None:
        monkeypatch.setattr(device, "on_host", lambda x: not on)

    return switch
