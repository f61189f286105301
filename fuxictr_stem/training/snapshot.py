"""All that the rest of a training depends on besides the data: weights, optimizer, random states."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor

from fuxictr_stem.layers import FieldTables
from fuxictr_stem.layers.row_shards import RowShard
from fuxictr_stem.runtime.outputs import replacing
from fuxictr_stem.training.weights import Opener, open_tensors, read_into, whole_sizes

WEIGHTS = "weights.safetensors"
TENSORS = "tensors.safetensors"
BEST = "best_weights"
OF_RANKS = "ranks."
"""How the names of tensors begin that only several processes have."""

# What FuxiCTR's ``checkpoint_and_earlystop`` and loop keep on the model.
_SCHEDULE = (
    *("_epoch_index", "_batch_index", "_total_steps"),
    *("_stopping_steps", "_stop_training", "_best_metric"),
)


def copy_best(model: MultiTaskModel, folder: Path) -> None:
    """Copy a model's best weights so far, if there are some."""
    if os.path.exists(model.checkpoint):
        # No second name of the file: damage to that one would be damage to every state.
        shutil.copyfile(model.checkpoint, folder / BEST)


def state(model: MultiTaskModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return all else that a state holds besides weights: tensors, and what is none, as JSON."""
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
    # The generator that FuxiCTR seeds.
    kind, keys, *more = np.random.get_state(legacy=True)  # noqa: NPY002
    return tensors, {
        "schedule": {name: _plain(getattr(model, name)) for name in _SCHEDULE},
        "optimizer": {"groups": optimizer["param_groups"], "numbers": numbers},
        "random": {
            "python": random.getstate(),
            "numpy": [kind, keys.tolist(), *more],  # type: ignore[union-attr]
        },
    }


def generator(model: MultiTaskModel) -> torch.Generator:
    """Return what a model draws its dropout from."""
    if model.device.type == "cuda":
        return torch.cuda.default_generators[model.device.index]
    return torch.default_generator


def put_best_back(model: MultiTaskModel, folder: Path, content: Mapping[str, Any]) -> None:
    """Have the file of the best weights as it was when a state was written; arguments as of `read`."""
    checkpoint = Path(model.checkpoint)
    if BEST in content["files"]:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with replacing(checkpoint) as temporary:
            shutil.copyfile(folder / BEST, temporary)


def read(
    model: MultiTaskModel,
    folder: Path,
    content: Mapping[str, Any],
    opener: Opener = open_tensors,
) -> None:
    """Put a model that is set up as the one of `state`, and all random states, where `state` saw them.

    ``content`` is what `state` returned, with the ``files`` of the state's folder, which ``opener`` opens.
    """
    if WEIGHTS not in content["files"]:
        return
    read_into(model, folder / WEIGHTS, opener)
    for name, value in content["schedule"].items():
        setattr(model, name, value)
    tensors = _read_tensors(model, folder / TENSORS, opener)
    torch.set_rng_state(tensors.pop("random.torch"))
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors.pop("random.cuda"), model.device)
    states: dict[int, dict[str, Any]] = {
        int(place): dict(numbers) for place, numbers in content["optimizer"]["numbers"].items()
    }
    for key, value in tensors.items():
        _, place, name = key.split(".", 2)
        states.setdefault(int(place), {})[name] = value
    groups = content["optimizer"]["groups"]
    for group in groups:
        group.update({k: tuple(v) for k, v in group.items() if k == "betas"})
    model.optimizer.load_state_dict({"state": states, "param_groups": groups})
    kind, keys, *more = content["random"]["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *more))  # noqa: NPY002
    version, internal, gauss = content["random"]["python"]
    random.setstate((version, tuple(internal), gauss))


def _read_tensors(model: MultiTaskModel, path: Path, opener: Opener) -> dict[str, Tensor]:
    """Read a state's tensors; of tables that several processes split, what is kept here."""
    tensors = {}
    with opener(path) as file:
        shards = optimizer_shards(model, file.shapes)
        for name, shape in file.shapes.items():
            if not name.startswith(OF_RANKS):
                size = [shards[name].size, *shape[1:]] if name in shards else shape
                # The padding of a part is in no file.
                tensors[name] = torch.zeros(size, dtype=file.dtypes[name])
        file.copy_into(tensors, shards)
    return tensors


def optimizer_shards(model: MultiTaskModel, names: Iterable[str]) -> dict[str, RowShard]:
    """Return what this process keeps of the optimizer's tensors that several split, by their names."""
    shards = {
        id(module.table.weight): module.shard
        for module in model.modules()
        if isinstance(module, FieldTables)
    }
    parameters = [p for group in model.optimizer.param_groups for p in group["params"]]
    split = {}
    for name in names:
        kind, *place, what = name.split(".")
        if kind == "optimizer" and what != "step":
            shard = shards.get(id(parameters[int(place[0])]))
            if shard is not None:
                split[name] = shard
    return split


def size_bytes(model: MultiTaskModel) -> int:
    """Return about how many bytes a state takes on disk: weights, best weights, two moments."""
    sizes = whole_sizes(model)
    return 4 * sum(sizes[id(p)] * p.element_size() for p in model.parameters())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
