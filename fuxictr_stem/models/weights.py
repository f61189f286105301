"""Weights read from safetensors without a second copy of them in memory."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

_BLOCK_BYTES = 1 << 26


@torch.no_grad()
def read_into(model: nn.Module, path: str | Path) -> None:
    """Copy a file's tensors into a model, some rows at a time.

    Args:
        model: A model without shared parameters; on any device.
        path: The safetensors file.

    Raises:
        RuntimeError: If the file's names or shapes are not the model's.
        SafetensorError: If the file is none of safetensors.
    """
    # One file throughout, though another process may meanwhile put its own in this one's place.
    with open(path, "rb") as held:
        _read_into(model, f"/dev/fd/{held.fileno()}")


def _read_into(model: nn.Module, path: str) -> None:
    own = model.state_dict()
    with safe_open(path, "pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    wanted = {name: list(tensor.shape) for name, tensor in own.items()}
    if shapes != wanted:
        apart = sorted(name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name))
        raise RuntimeError(
            f"{len(apart)} tensors are missing, left over or of another shape, such as {apart[0]!r}: "
            f"{shapes.get(apart[0])} in the file, {wanted.get(apart[0])} in the model"
        )
    for name, tensor in own.items():
        if not tensor.dim():
            with safe_open(path, "pt") as file:
                tensor.copy_(file.get_tensor(name))
            continue
        row_bytes = tensor.element_size() * max(tensor[:1].numel(), 1)
        rows = max(1, _BLOCK_BYTES // row_bytes)
        for start in range(0, len(tensor), rows):
            # What was read counts as memory of the process until the file is closed.
            with safe_open(path, "pt") as file:
                tensor[start : start + rows].copy_(file.get_slice(name)[start : start + rows])
