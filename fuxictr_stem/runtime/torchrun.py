"""What `torchrun` tells the processes that it starts."""

from __future__ import annotations

import os


def started_by_torchrun() -> bool:
    """Say whether `torchrun` has started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first_process() -> bool:
    """Say whether this process speaks for all that `torchrun` has started."""
    return not started_by_torchrun() or os.environ["RANK"] == "0"
