"""Keep freed memory in the process, on Linux CPUs."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large blocks instead of handing them back to the system.

    Every activation of a training step is some megabytes. By default glibc maps each afresh, and the
    page faults take a good part of the step. This is a setting of the whole process, so a runner
    makes it, never an import. Memory that was needed once stays with the process.

    Returns:
        Whether the setting was made; there is none to make without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
