"""What the package offers by name: there, seen by type checkers, and imported only when asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

import fuxictr_stem

ROOT = Path(__file__).parents[1]


def test_importing_the_package_is_quick():
    code = "import sys, fuxictr_stem; print(*dir(fuxictr_stem)); print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    names, modules = (set(line.split()) for line in done.stdout.splitlines())
    assert {"fit", "load", "list_models", *fuxictr_stem.__all__} <= names
    assert not {"torch", "fuxictr", "pandas", "polars", "sklearn", "ray"} & modules


def test_every_public_name_is_there():
    for name in fuxictr_stem.__all__:
        assert getattr(fuxictr_stem, name) is not None
    with pytest.raises(AttributeError, match="module 'fuxictr_stem' has no attribute 'fitt'"):
        _ = fuxictr_stem.fitt


@pytest.mark.slow
def test_mypy_sees_the_public_names(tmp_path):
    file = tmp_path / "use.py"
    file.write_text("import fuxictr_stem\nreveal_type(fuxictr_stem.fit)\nfuxictr_stem.fitt\n")
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "overwrite: bool" in done.stdout, done.stdout
    assert 'Module has no attribute "fitt"' in done.stdout
    assert "Found 1 error" in done.stdout
