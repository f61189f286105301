"""The tests lie in folders like the package's, and each module's test is found by its name."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Nothing to test alone: a version, the call of another module, an interface.
WITHOUT_TEST = {"version.py", "__main__.py", "training/trackers/tracker.py"}


def test_each_module_has_a_test_of_its_name():
    package = ROOT / "fuxictr_stem"
    modules = {
        path.relative_to(package)
        for path in package.rglob("*.py")
        if path.name != "__init__.py" and "packaged" not in path.parts
    }
    missing = {
        str(module)
        for module in modules
        if not (ROOT / "tests" / module.parent / f"test_{module.name}").exists()
    }
    assert missing == WITHOUT_TEST
