"""Payloads that leave a mark when anything executes them, and a project that is attacked."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest

from fuxictr_stem.cli import main
from tests.support.project import Project

# Written into what is attacked in place of the mark's path.
MARK = "{mark}"
EVAL = f"__import__('pathlib').Path('{MARK}').touch()"


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Have unpickling call ``Path.touch``."""
        return Path.touch, (self.path,)


class Target:
    """A project in a folder, what lies outside of it, and the mark of an execution.

    Attributes:
        project: The project; the current folder is its own.
        outside: A folder beside it that nothing may change.
        mark: The file that a payload creates.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        home, self.outside = folder / "home", folder / "outside"
        home.mkdir()
        self.outside.mkdir()
        (self.outside / "secret").write_text("secret")
        self.mark = folder / "executed"
        self.folder = folder
        monkeypatch.chdir(home)
        self.project = Project(home)
        self.project.model |= {"epochs": 1}
        self.project.frames = {name: f.head(60) for name, f in self.project.frames.items()}

    def armed(self, value: Any) -> Any:
        """Return a value whose payloads name the mark."""
        if isinstance(value, str):
            return value.replace(MARK, str(self.mark))
        if isinstance(value, list):
            return [self.armed(one) for one in value]
        if isinstance(value, dict):
            return {self.armed(key): self.armed(one) for key, one in value.items()}
        return value

    def command(self, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
        """Run a command; see that nothing was executed, and nothing written where it may not be.

        Returns:
            The exit code, and what was printed to stderr.
        """
        before = _content(self.folder)
        logging.disable(logging.CRITICAL)
        try:
            code = main(argv)
        finally:
            logging.disable(logging.NOTSET)
        told = capsys.readouterr().err
        assert not self.mark.exists(), "executed"
        allowed = ("home/data/", "home/checkpoints/", "home/config.csv", "home/out/")
        after = _content(self.folder)
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        assert not [name for name in changed if not name.startswith(allowed)], changed
        return code, told

    def refuses(self, capsys: pytest.CaptureFixture[str], *argv: str) -> str:
        """Run a command that must end in one message; return it."""
        code, told = self.command(capsys, *argv)
        assert code == 2
        assert told.count("error: ") == 1
        assert "Traceback" not in told
        assert len(told) < 20_000
        assert not list(self.folder.rglob("result.json"))
        return told

    def run(self, capsys: pytest.CaptureFixture[str], expid: str = "toy_test") -> str:
        """Write the project and run an experiment that must be refused; return the message."""
        self.project.write()
        return self.refuses(capsys, "run", "--config", "config", "--expid", expid)


def _content(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def vectors(path: Path) -> None:
    """Write a good file of pretrained vectors of width 3."""
    with h5py.File(path, "w") as file:
        file["key"] = np.array([b"u0", b"u1"])
        file["value"] = np.ones((2, 3))


def with_external_link(path: Path, outside: Path) -> None:
    """Write a file whose vectors are a link into another one."""
    vectors(outside / "vectors.h5")
    with h5py.File(path, "w") as file:
        file["key"] = np.array([b"u0", b"u1"])
        file["value"] = h5py.ExternalLink(str(outside / "vectors.h5"), "value")


def with_soft_link(path: Path, outside: Path) -> None:
    """Write a file whose vectors are a link within it."""
    vectors(path)
    with h5py.File(path, "r+") as file:
        file.move("value", "other")
        file["value"] = h5py.SoftLink("/other")


def with_virtual_data(path: Path, outside: Path) -> None:
    """Write a file whose vectors are another one's."""
    vectors(outside / "vectors.h5")
    layout = h5py.VirtualLayout((2, 3), float)
    layout[:] = h5py.VirtualSource(str(outside / "vectors.h5"), "value", (2, 3))
    with h5py.File(path, "w") as file:
        file["key"] = np.array([b"u0", b"u1"])
        file.create_virtual_dataset("value", layout)


def with_raw_storage(path: Path, outside: Path) -> None:
    """Write a file whose vectors are the bytes of another file."""
    (outside / "bytes").write_bytes(np.ones((2, 3)).tobytes())
    with h5py.File(path, "w") as file:
        file["key"] = np.array([b"u0", b"u1"])
        file.create_dataset("value", (2, 3), float, external=[(str(outside / "bytes"), 0, 48)])


def with_references(path: Path, outside: Path) -> None:
    """Write a file whose keys are references to objects."""
    vectors(path)
    with h5py.File(path, "r+") as file:
        del file["key"]
        file.create_dataset("key", data=[file["value"].ref] * 2, dtype=h5py.ref_dtype)


ELSEWHERE = [with_external_link, with_soft_link, with_virtual_data, with_raw_storage]


def write_pickle(path: Path, mark: Path) -> None:
    """Write a pickle that creates the mark, under whatever name."""
    path.write_bytes(pickle.dumps(Touch(mark)))


def text_column(name: str, values: list[str | None]) -> pl.Series:
    """Return a column of text."""
    return pl.Series(name, values, dtype=pl.String)
