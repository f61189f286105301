"""All that the rest of a training depends on besides the data: weights, optimizer, random states."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuxictr.pytorch.models import MultiTaskModel
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor

from fuxictr_stem.runtime.outputs import replacing
from fuxictr_stem.training.weights import read_into

WEIGHTS = "weights.safetensors"
TENSORS = "tensors.safetensors"
BEST = "best_weights"

# What FuxiCTR's ``checkpoint_and_earlystop`` and loop keep on the model.
_SCHEDULE = (
    *("_epoch_index", "_batch_index", "_total_steps"),
    *("_stopping_steps", "_stop_training", "_best_metric"),
)


def write(model: MultiTaskModel, folder: Path, best_only: bool = False) -> dict[str, Any]:
    """Write a model's weights, its best ones so far, its optimizer and all random states into a folder.

    Returns what is no tensor, as JSON; with `best_only`, nothing.
    """
    if os.path.exists(model.checkpoint):
        # No second name of the file: damage to that one would be damage to every state.
        shutil.copyfile(model.checkpoint, folder / BEST)
    if best_only:
        return {}
    save_model(model, str(folder / WEIGHTS))
    tensors = {"random.torch": torch.get_rng_state()}
    if model.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(model.device)
    optimizer = model.optimizer.state_dict()
    numbers: dict[str, dict[str, Any]] = {}
    for place, state in optimizer["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{place}.{name}"] = value.contiguous()
            else:
                numbers.setdefault(str(place), {})[name] = value
    save_file(tensors, str(folder / TENSORS))
    # The generator that FuxiCTR seeds.
    kind, keys, *more = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "schedule": {name: _plain(getattr(model, name)) for name in _SCHEDULE},
        "optimizer": {"groups": optimizer["param_groups"], "numbers": numbers},
        "random": {
            "python": random.getstate(),
            "numpy": [kind, keys.tolist(), *more],  # type: ignore[union-attr]
        },
    }


def read(model: MultiTaskModel, folder: Path, content: dict[str, Any]) -> None:
    """Put a model that is set up as the one of `write`, and all random states, where `write` saw them.

    ``content`` is what `write` returned, with the state's ``files``. The best weights' file is put back,
    too.
    """
    checkpoint = Path(model.checkpoint)
    if BEST in content["files"]:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with replacing(checkpoint) as temporary:
            shutil.copyfile(folder / BEST, temporary)
    if WEIGHTS not in content["files"]:
        return
    read_into(model, folder / WEIGHTS)
    for name, value in content["schedule"].items():
        setattr(model, name, value)
    tensors = load_file(str(folder / TENSORS))
    torch.set_rng_state(tensors.pop("random.torch"))
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors.pop("random.cuda"), model.device)
    states: dict[int, dict[str, Any]] = {
        int(place): dict(numbers) for place, numbers in content["optimizer"]["numbers"].items()
    }
    for key, value in tensors.items():
        _, place, name = key.split(".", 2)
        states.setdefault(int(place), {})[name] = value.clone()
    groups = content["optimizer"]["groups"]
    for group in groups:
        group.update({k: tuple(v) for k, v in group.items() if k == "betas"})
    model.optimizer.load_state_dict({"state": states, "param_groups": groups})
    kind, keys, *more = content["random"]["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *more))  # noqa: NPY002
    version, internal, gauss = content["random"]["python"]
    random.setstate((version, tuple(internal), gauss))


def size_bytes(model: MultiTaskModel) -> int:
    """Return about how many bytes a state takes on disk: weights, best weights, two moments."""
    return 4 * sum(p.numel() * p.element_size() for p in model.parameters())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
