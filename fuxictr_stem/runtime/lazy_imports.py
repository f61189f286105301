"""FuxiCTR's models, imported without the seconds that ray and scikit-learn take.

Two modules of FuxiCTR's models import, for one function each, a module that brings ray or scikit-learn with
it. While exactly these two are imported, a stand-in takes that module's place, whose function imports the
real one when it is first called. The stand-in does not stay in ``sys.modules``: whoever imports
``fuxictr.preprocess`` or ``fuxictr.metrics`` gets FuxiCTR's own, before and after.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_POSTPONED: Mapping[str, tuple[str, str]] = {
    "fuxictr.pytorch.layers.embeddings.pretrained_embedding": (
        "fuxictr.preprocess.tokenizer",
        "load_pretrain_emb",
    ),
    "fuxictr.pytorch.models.rank_model": ("fuxictr.metrics", "evaluate_metrics"),
}
"""By module of FuxiCTR: the slow module that it imports, and the function that it takes from it."""


def postpone_slow_imports() -> None:
    """Have FuxiCTR's models import its preprocessing and metrics only when these are called."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the modules of the table as Python does, and has each executed with its stand-in."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how a module of the table is imported; None leaves all others to Python."""
        if fullname not in _POSTPONED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def with_stand_in(module: ModuleType) -> None:
                with _stand_in(*_POSTPONED[fullname]):
                    execute(module)

            spec.loader.exec_module = with_stand_in  # type: ignore[method-assign]
        return spec


class _StandIn(ModuleType):
    """A module with one function, which imports the real module when it is called."""

    def __init__(self, name: str, function: str) -> None:
        super().__init__(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(import_module(name), function)(*args, **kwargs)

        setattr(self, function, call)

    def __getattr__(self, name: str) -> Any:
        """Return what another release of FuxiCTR may want from the real module, imported at once."""
        if name.startswith("__"):
            raise AttributeError(name)
        _remove(self)
        return getattr(import_module(self.__name__), name)


@contextmanager
def _stand_in(name: str, function: str) -> Iterator[None]:
    stand_in = _StandIn(name, function)
    # A module that is imported already is taken as it is.
    sys.modules.setdefault(name, stand_in)
    try:
        yield
    finally:
        _remove(stand_in)


def _remove(stand_in: ModuleType) -> None:
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]
