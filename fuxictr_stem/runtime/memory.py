"""How much memory this process may still take."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import NamedTuple

import torch

# Limit, use, and account of the use of a container; version 2, then 1.
_CGROUPS = (
    tuple(f"/sys/fs/cgroup/memory.{name}" for name in ("max", "current", "stat")),
    tuple(
        f"/sys/fs/cgroup/memory/memory.{name}"
        for name in ("limit_in_bytes", "usage_in_bytes", "stat")
    ),
)


class Share(NamedTuple):
    """What of the memory a run may plan with, beside others that are started with it.

    Attributes:
        host: The most bytes of the CPU's; None for all that are free.
        runs: How many runs share a CUDA device.
    """

    host: int | None = None
    runs: int = 1


def available_bytes() -> int:
    """Return the memory that is free for use: of the machine, or of a container with less."""
    free = [_machine()]
    for limit, used, account in _CGROUPS:
        most, now = _read(limit), _read(used)
        if most.isdecimal() and now.isdecimal():
            free.append(max(int(most) - int(now) + _reclaimable(_read(account)), 0))
    return min(free)


def device_bytes(device: torch.device) -> int:
    """Return the memory that is free for use where a device computes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_bytes()


def _reclaimable(account: str) -> int:
    """Return the bytes of cached files that are given back when they are needed."""
    for line in account.splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0


def _machine() -> int:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def peak_rss_bytes() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
