"""A finished run of every kind of column, far from its data."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

import fuxictr_stem
from fuxictr_stem.serving import Scorer
from fuxictr_stem.serving.export import export
from fuxictr_stem.serving.run import Run
from tests.support.finished import Finished, finish
from tests.support.served import COLUMNS


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Train once; nobody changes what it leaves."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("finished")
    os.chdir(folder)
    try:
        return finish(folder)
    finally:
        os.chdir(before)


@pytest.fixture
def finished(_finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """A copy of the run's folder at another place, with no config, data or cache near it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(_finished.folder, tmp_path / "run")
    return Finished(tmp_path / "run", _finished.frames)


@pytest.fixture(scope="session")
def _exported(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export once; nobody changes it."""
    out = tmp_path_factory.mktemp("exported") / "export"
    export(_finished.folder, out)
    return out


class Served(NamedTuple):
    """An exported folder, that of its run, and rows; nobody changes them."""

    folder: Path
    run: Finished


@pytest.fixture(scope="session")
def served(_exported: Path, _finished: Finished) -> Served:
    """An exported folder and its run, as they are."""
    return Served(_exported, _finished)


@pytest.fixture
def run(finished: Finished) -> Run:
    """The copy, opened."""
    return fuxictr_stem.load(finished.folder)


@pytest.fixture
def exported(_exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported folder."""
    shutil.copytree(_exported, tmp_path / "export")
    return tmp_path / "export"


@pytest.fixture(scope="session")
def loaded(served: Served) -> Scorer:
    """The exported folder, opened to score."""
    return Scorer(served.folder)


@pytest.fixture
def rows(served: Served) -> pl.DataFrame:
    """Rows with some values missing and some that train had not."""
    return (
        served.run.test.select(COLUMNS)
        .head(60)
        .with_columns(
            user=pl.when(pl.int_range(60) % 7 == 3).then(None).otherwise("user"),
            item=pl.when(pl.int_range(60) % 11 == 5).then(pl.lit("new")).otherwise("item"),
        )
    )
