"""What a figure depends on besides the code: machine, versions, date, command."""

from __future__ import annotations

import os
import platform
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

import torch

from fuxictr_stem.runtime.versions import versions


def facts(argv: Sequence[str], program: Sequence[str] = ("perf/run.py",)) -> dict[str, str]:
    """Return them by name.

    Args:
        argv: The arguments of the run.
        program: What Python runs.
    """
    values = {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        "command": shlex.join(["python", *program, *argv]),
        "CPU": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": f"{os.cpu_count()}, PyTorch uses {torch.get_num_threads()} threads",
        "memory": _memory(),
        "system": platform.platform(),
        "load when it began": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
        "versions": ", ".join(f"{name} {text}" for name, text in versions().items()),
    }
    if torch.cuda.is_available():
        values["GPU"] = torch.cuda.get_device_name(0)
    return values


def _memory() -> str:
    kib = re.match(r"\d+", _field("/proc/meminfo", "MemTotal"))
    return f"{int(kib[0]) / 2**20:.1f} GiB" if kib else "unknown"


def _field(path: str, name: str) -> str:
    """Return the first value of a name in a file of ``name: value`` lines, or nothing."""
    match = None
    with suppress(OSError):
        match = re.search(rf"^{name}\s*:\s*(.*)$", Path(path).read_text(), re.M)
    return match[1].strip() if match else ""
