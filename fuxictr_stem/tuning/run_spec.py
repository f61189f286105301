"""Runs to be made, with keys that change with whatever decides their numbers, and what became of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuxictr_stem.config.result_settings import NO_SETTINGS, as_json, decisive

CPU = "CPU"


@dataclass(frozen=True)
class RunSpec:
    """One run to be made."""

    expid: str
    seed: int
    trial: dict[str, Any]  # what the search sets in it
    overrides: dict[str, Any]  # all settings that replace the config's
    key: str  # it changes as soon as anything that decides the numbers does
    folder: Path  # of its log and arguments
    results: Path  # folder of its result, weights and states

    def __str__(self) -> str:
        settings = "".join(f", {name} {value}" for name, value in self.trial.items())
        return f"{self.expid}, seed {self.seed}{settings}"


@dataclass
class Outcomes:
    """What became of the runs, by key."""

    done: dict[str, dict[str, Any]] = field(default_factory=dict)  # the content of ``result.json``
    failed: dict[str, str] = field(default_factory=dict)  # the reason

    def __contains__(self, spec: RunSpec) -> bool:
        return spec.key in self.done or spec.key in self.failed


def run_digest(
    params: Mapping[str, Any], data: str, versions: Mapping[str, str], *others: Any
) -> str:
    """Return 12 hexadecimal digits that change with the settings, the data or the software."""
    settings = {key: value for key, value in decisive(params).items() if key not in NO_SETTINGS}
    return digest([as_json(settings), data, versions, *others])[:12]


def digest(content: Any) -> str:
    """Return the SHA-256 of plain values, whatever the order of a mapping's keys.

    Example:
        >>> digest({"a": 12, "b": 3}) == digest({"b": 3, "a": 12}), digest([12, 3]) == digest([21, 3])
        (True, False)
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
