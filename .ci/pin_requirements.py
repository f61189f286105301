"""Write requirements.txt and requirements-dev.txt: exact sets, from the ranges of pyproject.toml.

    python .ci/pin_requirements.py

resolves with pip under each Python that it names, so these must be on the PATH (python3.10 and so on),
and reads metadata only. It takes minutes. Then run .ci/run: a set counts once it is tested.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[1]
# The Python that .ci/run tests first: later ones take its releases, too.
PYTHONS = ("3.11", "3.10", "3.12", "3.13")
# An index may have a CPU build of this release, but a later one only with CUDA's packages.
FIXED = ["torch==2.13.0"]
_CUDA = re.compile(r"(nvidia|cuda)-.*|triton")

HEADER = """\
# {what}
# Written by `python .ci/pin_requirements.py` from the ranges of pyproject.toml; do not edit.
# Tested with Python 3.11; a marker tells where another Python needs another release. CUDA's packages
# are none of the set: where your index has a CPU build of torch, none is installed.
"""

Versions = dict[str, str]


def make_pip(python: str, folder: str) -> list[str]:
    """Return the command of the newest pip under a Python, such as ``3.11``."""
    subprocess.run([f"python{python}", "-m", "venv", folder], check=True)
    pip = [f"{folder}/bin/python", "-m", "pip", "--quiet", "install"]
    subprocess.run([*pip, "--upgrade", "pip"], check=True)
    return pip


def resolve(pip: list[str], requirements: Iterable[str], constraints: Versions) -> Versions:
    """Return the newest releases that fit some requirements, by name.

    Args:
        pip: Its command, as of `make_pip`.
        requirements: What is to be installed.
        constraints: Releases that are chosen already, by name.
    """
    with tempfile.TemporaryDirectory() as scratch:
        limits, report = Path(scratch, "constraints.txt"), Path(scratch, "report.json")
        limits.write_text("\n".join(f"{name}=={version}" for name, version in constraints.items()))
        options = ["--dry-run", "--ignore-installed", "--only-binary=:all:"]
        files = ["--constraint", str(limits), "--report", str(report)]
        subprocess.run([*pip, *options, *files, *FIXED, *requirements], check=True)
        chosen = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    pins = {
        re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"].split("+")[0] for one in chosen
    }
    return {name: version for name, version in pins.items() if not _CUDA.fullmatch(name)}


def pin_lines(by_python: Mapping[str, Versions]) -> list[str]:
    """Return one line for each package and release, with a marker where not every Python takes it."""
    pythons = sorted(by_python, key=lambda python: int(python.split(".")[1]))
    lines = []
    for name in sorted({name for versions in by_python.values() for name in versions}):
        releases = [by_python[python].get(name) for python in pythons]
        start = 0
        for end in range(1, len(pythons) + 1):
            if end < len(pythons) and releases[end] == releases[start]:
                continue
            bounds = [f'python_version >= "{pythons[start]}"'] if start else []
            bounds += [f'python_version < "{pythons[end]}"'] if end < len(pythons) else []
            if releases[start] is not None:
                marker = f" ; {' and '.join(bounds)}" if bounds else ""
                lines.append(f"{name}=={releases[start]}{marker}")
            start = end
    return lines


def main() -> None:
    """Resolve what a run needs, then what the tests need as well, and write both files."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"]
    tests = [need for group in extras.values() for need in group if project["name"] not in need]
    run: dict[str, Versions] = {}
    dev: dict[str, Versions] = {}
    for python in PYTHONS:
        print(f"Python {python} ...", flush=True)
        # The tested set stays as it is under later Pythons; an earlier one may need older releases.
        tested = {**run[PYTHONS[0]], **dev[PYTHONS[0]]} if python > PYTHONS[0] else {}
        with tempfile.TemporaryDirectory() as venv:
            pip = make_pip(python, venv)
            run[python] = resolve(pip, project["dependencies"], tested)
            both = resolve(pip, [*project["dependencies"], *tests], {**tested, **run[python]})
        dev[python] = {name: pin for name, pin in both.items() if name not in run[python]}
    header = HEADER.format(what="What `python run_expid.py` needs.")
    (ROOT / "requirements.txt").write_text(header + "\n".join(pin_lines(run)) + "\n")
    header = HEADER.format(
        what="What the tests and checks need as well, with the extras `balancing` and `export`."
    )
    lines = ["-r requirements.txt", *pin_lines(dev)]
    (ROOT / "requirements-dev.txt").write_text(header + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
