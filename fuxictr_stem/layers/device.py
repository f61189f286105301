"""Where a tensor lies, which decides between two ways to compute the same numbers."""

from __future__ import annotations

from torch import Tensor


def on_host(x: Tensor) -> bool:
    """Say whether a tensor lies in the host's memory, so that its numbers can be looked at for nothing.

    Elsewhere a look waits for the device, and a CUDA graph forbids it. What asks here has a second way,
    with shapes that do not depend on the numbers.
    """
    return x.device.type == "cpu"
