"""How much memory this process may still take, and what it keeps."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path
from typing import NamedTuple

import torch

# Limit, use, and account of the use of a container; version 2, then 1.
_CGROUPS = (
    ("/sys/fs/cgroup/memory.", ("max", "current", "stat")),
    ("/sys/fs/cgroup/memory/memory.", ("limit_in_bytes", "usage_in_bytes", "stat")),
)

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


class Share(NamedTuple):
    """What of the memory a run may plan with, next to others that are started with it."""

    host: int | None = None  # the most bytes of the CPU's; None for all that are free
    runs: int = 1  # how many runs share a CUDA device


def available_bytes() -> int:
    """Return the memory that is free for use: of the machine, or of a container with less."""
    free = [_machine()]
    for start, names in _CGROUPS:
        limit, used, account = (_read(start + name) for name in names)
        if limit.isdecimal() and used.isdecimal():
            free.append(max(int(limit) - int(used) + _figure(account, "inactive_file"), 0))
    return min(free)


def device_bytes(device: torch.device) -> int:
    """Return the memory that is free for use where a device computes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_bytes()


def _machine() -> int:
    available = _figure(_read("/proc/meminfo"), "MemAvailable:") * 1024
    return available or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _figure(account: str, name: str) -> int:
    """Return a number of an account of the system, 0 where it is not there."""
    rows = (line.split() for line in account.splitlines())
    return next((int(row[1]) for row in rows if row and row[0] == name), 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def peak_rss_bytes() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large blocks instead of handing them back to the system; say if it did.

    Every activation of a training step is some megabytes. By default glibc maps each afresh, and the page
    faults take a good part of the step. This is a setting of the whole process, so a runner makes it,
    never an import. Memory that was needed once stays with the process.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
