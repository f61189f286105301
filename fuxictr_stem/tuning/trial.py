"""What became of one trial of a search."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

DONE, PRUNED, FAILED = "done", "pruned", "failed"


@dataclass(frozen=True)
class Trial:
    """What became of one trial of a search."""

    number: int  # from 0
    name: str
    settings: dict[str, Any]
    state: str  # `DONE`, `PRUNED` or `FAILED`
    value: float = math.nan  # the monitor on valid
    objectives: dict[str, float] = field(default_factory=dict)  # on valid, by name
    evaluations: list[float] = field(default_factory=list)  # the monitor at each of them
    reason: str = ""  # of a failure
