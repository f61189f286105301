"""The pinned sets of requirements, against pyproject.toml's ranges and the installed packages' own."""

import importlib.util
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def read(file):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]


def pins(python, *files):
    """Return the pinned release of each package under a Python."""
    environment = {**default_environment(), "python_version": python}
    found = {}
    for pin in (pin for file in files for pin in read(file)):
        if pin.marker is None or pin.marker.evaluate(environment):
            assert pin.name not in found, f"{pin.name} is pinned twice for Python {python}"
            found[pin.name] = re.fullmatch(r"==([^*]+)", str(pin.specifier)).group(1)
    return found


def ranges(*extras):
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = list(project["dependencies"])
    for extra in extras:
        listed += project["optional-dependencies"][extra]
    return [need for need in map(Requirement, listed) if need.name != project["name"]]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("files", "extras"),
    [
        (["requirements.txt"], []),
        (["requirements.txt", "requirements-dev.txt"], ["dev", "balancing"]),
    ],
)
def test_every_direct_dependency_is_pinned_inside_its_range(python, files, extras):
    pinned = pins(python, *files)
    for need in ranges(*extras):
        assert need.specifier.contains(pinned[canonical(need.name)]), need


def test_every_dependency_of_a_pinned_release_is_pinned():
    """By the metadata of what is installed here, where that is the pinned release."""
    environment = {**default_environment(), "extra": ""}
    pinned = pins(environment["python_version"], "requirements.txt", "requirements-dev.txt")
    extras = {"torchjd": ["quadprog-projector", "cagrad"], "ray": ["data"]}
    compared = 0
    for name, version in pinned.items():
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if installed.version.split("+")[0] != version:
            continue
        compared += 1
        for need in map(Requirement, installed.requires or []):
            wanted = [{**environment, "extra": extra} for extra in ["", *extras.get(name, [])]]
            cuda = re.match("nvidia-|cuda-|triton", need.name)
            if not cuda and (need.marker is None or any(map(need.marker.evaluate, wanted))):
                assert canonical(need.name) in pinned, f"{name} needs {need}"
                assert need.specifier.contains(pinned[canonical(need.name)]), f"{name} needs {need}"
    if not compared:
        pytest.skip("no pinned release is installed here")


def test_the_pinned_sets_hold_no_cuda_and_one_torch():
    text = "".join((ROOT / f).read_text() for f in ("requirements.txt", "requirements-dev.txt"))
    assert "\ntorch==2.13.0\n" in text
    assert not re.search("^(nvidia|cuda|triton)", text, re.MULTILINE)
    assert "\n-r requirements.txt\n" in text


def test_a_release_that_not_every_python_takes_gets_a_marker():
    pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    path = ROOT / ".ci" / "pin_requirements.py"
    spec = importlib.util.spec_from_file_location("pin_requirements", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    by_python = {
        "3.11": {"a": "2", "b": "1", "d": "1"},
        "3.10": {"a": "1", "b": "1", "c": "1"},
        "3.12": {"a": "2", "b": "1"},
    }
    assert module.pin_lines(by_python) == [
        'a==1 ; python_version < "3.11"',
        'a==2 ; python_version >= "3.11"',
        "b==1",
        'c==1 ; python_version < "3.11"',
        'd==1 ; python_version >= "3.11" and python_version < "3.12"',
    ]


def test_the_tier_of_the_lowest_and_newest_releases_names_files_that_exist():
    tier = re.findall(r"tests/[\w/]+\.py", (ROOT / ".ci" / "versions").read_text())
    assert len(tier) > 5
    assert [name for name in tier if not (ROOT / name).is_file()] == []
