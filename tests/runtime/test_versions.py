"""The versions that a result names."""

import json
from importlib.metadata import version

from fuxictr_stem.runtime.versions import versions


def test_they_are_those_of_the_installed_packages_as_plain_text():
    named = versions()
    # JSON gives back what is compared with it later; torch's version is a class of its own.
    assert json.loads(json.dumps(named)) == named
    assert {type(text) for text in named.values()} == {str}
    for name in ("fuxictr", "numpy", "polars", "h5py"):
        assert named[name] == version(name)
    assert named["torch"].partition("+")[0] == version("torch").partition("+")[0]
    assert named.keys() == {
        *("python", "fuxictr_stem", "fuxictr", "torch", "polars", "numpy", "h5py")
    }
