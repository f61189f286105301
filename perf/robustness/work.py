"""What the topics share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


class Broken(Exception):
    """Something did what it may never do; the text holds all that is needed to see it again."""


@dataclass
class Work:
    """What a topic works with.

    Attributes:
        folder: For files that go when the run ends.
        examples: Configs, and inputs, to try.
        processes: How many of them at a time.
        kills: Runs to kill.
        rank_kills: Kills of runs with several ranks.
        rank_restarts: Of them that torchrun starts again.
        minutes: Of the long run.
        sections: Further parts of the Markdown file.
    """

    folder: Path
    examples: int = 2_000
    processes: int = 2
    kills: int = 200
    rank_kills: int = 20
    rank_restarts: int = 10
    minutes: float = 30
    sections: list[str] = field(default_factory=list)
