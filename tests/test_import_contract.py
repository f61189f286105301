"""The contract of layers (pyproject.toml) holds, and fails once an import points upwards."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("module", "line", "code"),
    [
        ("layers/device.py", "", 0),
        ("layers/device.py", "from fuxictr_stem.training import trainer", 1),
        ("data/source/dialect.py", "from fuxictr_stem.data.cache import open_cache", 1),
        ("serving/raw_rows.py", "import pandas", 1),
        (
            "runtime/locks.py",
            "if __import__('typing').TYPE_CHECKING:\n    import fuxictr_stem.cli",
            1,
        ),
    ],
)
def test_an_upward_import_breaks_the_contract(tmp_path, module, line, code):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "fuxictr_stem", tmp_path / "fuxictr_stem")
    with (tmp_path / "fuxictr_stem" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", lint, "--no-cache"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("BROKEN" in done.stdout) == bool(code)
