"""How much memory training takes, before a table is allocated.

Weights, gradients and the optimizer's state are certain, and counted: a twin of the model whose
vocabularies have a few ids shows what one more id costs and what does not depend on ids. One step of the
twin shows the rest: what its optimizer keeps, and what a row of a batch leaves for the backward pass. The
peak of a step is that and about once more the largest tensor of it: within a factor of 1.3 for the networks
of the shipped experiments, and rougher with ``gradient_balancing``.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.registry import build_model
from fuxictr_stem.runtime.memory import Share, available_bytes
from fuxictr_stem.runtime.text_table import format_bytes
from fuxictr_stem.training.cuda_graph_step import GraphedStep
from fuxictr_stem.training.nan_guard import LOOK_TOGETHER
from fuxictr_stem.training.synthetic_batch import synthetic_batch

logger = logging.getLogger(__name__)

_FLOAT = 4
_TWIN_IDS, _TWIN_ROWS = 3, 8


class Footprint(NamedTuple):
    """Bytes that training takes, by part."""

    tables: int  # weights of the embedding tables, frozen vectors included
    dense: int = 0  # all other weights
    gradients: int = 0  # of all learnt weights; with row_sparse, of those outside the tables
    optimizer: int = 0  # what the optimizer keeps of each weight
    activations: int = 0  # the most that a step takes more, with the batches that are kept
    # What a step that is recorded as a CUDA graph keeps, since its memory is never lent to other work.
    graph: int = 0

    @property
    def certain(self) -> int:
        """All except the estimated parts, activations and graph."""
        return self.tables + self.dense + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """All of it."""
        return self.certain + self.activations + self.graph


class _Field(NamedTuple):
    """A field with a vocabulary of its own."""

    ids: int  # size of the vocabulary
    dim: int  # of its embedding
    learnt: int  # numbers per id in each table
    frozen: int  # pretrained numbers per id that are not learnt


class MemoryPlan(NamedTuple):
    """What a run needs and what there is."""

    params: Mapping[str, Any]
    footprint: Footprint
    free: int  # bytes that were available before: of the CUDA device, if there is one, else of the CPU
    host_free: int  # bytes that were available to the CPU

    @property
    def data_budget(self) -> int:
        """Bytes that the splits in memory may take together: half of what training leaves."""
        return max(self.host_free - self.host_bytes(0), 0) // 2

    @property
    def device_budget(self) -> int | None:
        """Bytes that each of two splits may take on a CUDA device, or None without one.

        A third of what training leaves: there are two of them, and activations are an estimate.
        """
        left = max(self.free - self.footprint.total, 0)
        return left // 3 if self.params["gpu"] >= 0 else None

    def host_bytes(self, data: int) -> int:
        """Return the bytes that the run takes of the CPU's memory with some bytes of rows."""
        return data if self.params["gpu"] >= 0 else data + self.footprint.total

    def report(self, host_data: int, device_data: int = 0) -> None:
        """Log all parts, with the bytes of rows kept in either memory; warn if they may not fit."""
        needs, on_gpu = self.footprint, self.params["gpu"] >= 0
        place, parts = _place(self.params), _parts(needs, certain=False)
        data = f"{format_bytes(host_data)} of data"
        if on_gpu:
            data = f"{format_bytes(device_data)} of data there and {format_bytes(host_data)} in the CPU's"
        total = needs.total + (device_data if on_gpu else host_data)
        logger.info(
            f"Memory for training: {parts}: {format_bytes(total)} of {format_bytes(self.free)} "
            f"available to {place}, with {data}"
        )
        if total > self.free:
            what = "batch_size (activations)" + ("" if on_gpu else " or memory_budget (data)")
            logger.warning("This may be more memory than %s has. Lower %s.", place, what)


def plan_memory(
    params: Mapping[str, Any],
    feature_map: FeatureMap,
    share: Share = Share(),  # noqa: B008  it cannot be changed
    elsewhere: int = 0,
) -> MemoryPlan:
    """Estimate what training takes and reject what cannot fit (ConfigError); nothing large is allocated.

    Only what is certain is a reason to reject: weights, gradients and the optimizer's state. ``share`` is
    what of the memory is this run's, ``elsewhere`` are bytes of the CPU's memory that other runs will
    still take.
    """
    gpu, host_free = params["gpu"], max(available_bytes() - elsewhere, 0)
    if share.host is not None:
        host_free = min(host_free, share.host)
    free = host_free
    if gpu >= 0:
        device_free, device_total = torch.cuda.mem_get_info(gpu)
        # Of the whole: the others may have taken their shares already.
        free = min(device_free, device_total // share.runs) if share.runs > 1 else device_free
    fields = _fields(params, feature_map)
    # The twin itself would not fit with an absurd embedding_dim.
    least = Footprint(
        _FLOAT * sum(field.ids * (field.learnt + field.frozen) for field in fields.values())
    )
    _check_fit(params, fields, least, free, _place(params))
    footprint = _estimate(params, feature_map, list(fields.values())) or least
    _check_fit(params, fields, footprint, free, _place(params))
    if gpu >= 0:
        # The weights are made there before they are moved.
        weights = Footprint(footprint.tables, footprint.dense)
        _check_fit(params, fields, weights, host_free, "the CPU")
    return MemoryPlan(params, footprint, free, host_free)


def _place(params: Mapping[str, Any]) -> str:
    return "the CPU" if params["gpu"] < 0 else f"CUDA device {params['gpu']}"


def _parts(needs: Footprint, certain: bool) -> str:
    """Return the parts with their sizes; those that are certain alone, or the estimated ones, too."""
    parts = {"tables": needs.tables, "other weights": needs.dense}
    parts |= {"gradients": needs.gradients, "optimizer": needs.optimizer}
    if not certain:
        parts |= {"activations about": needs.activations, "the recorded step about": needs.graph}
    return ", ".join(f"{name} {format_bytes(count)}" for name, count in parts.items() if count)


def _fields(params: Mapping[str, Any], feature_map: FeatureMap) -> dict[str, _Field]:
    """Return the fields that have a vocabulary of their own."""
    fields = {}
    for name, spec in feature_map.features.items():
        shares = spec.get("share_embedding") in feature_map.features
        if spec["type"] not in ("categorical", "sequence") or shares:
            continue
        dim = spec.get("embedding_dim") or params.get("embedding_dim", 1)
        learnt, frozen = dim, 0
        if "pretrained_emb" in spec:
            width = spec.get("pretrain_dim", dim)
            learnt = dim if spec.get("pretrain_usage", "init") != "init" else 0
            frozen = width if spec["freeze_emb"] else 0
            learnt += 0 if spec["freeze_emb"] else width
        fields[name] = _Field(spec["vocab_size"], dim, learnt, frozen)
    return fields


def _check_fit(
    params: Mapping[str, Any], fields: Mapping[str, _Field], needs: Footprint, free: int, place: str
) -> None:
    if needs.certain <= free:
        return
    changes = ["lower the widths of its layers"]
    if needs.tables >= needs.dense:
        largest = sorted(fields, key=lambda name: fields[name].ids * fields[name].dim, reverse=True)
        ids = ", ".join(f"{name} {fields[name].ids:,}" for name in largest[:3])
        changes = [f"lower embedding_dim, raise min_categr_count (the most ids: {ids})"]
        if str(params["optimizer"]).lower() == "adam" and not params.get("row_sparse"):
            changes.append("set row_sparse: True, which keeps no gradients of tables")
    raise ConfigError(
        f"{params['model_id']} cannot be trained in the memory of {place}: it needs "
        f"{format_bytes(needs.certain)} or more ({_parts(needs, certain=True)}), and "
        f"{format_bytes(free)} are available. You can {', or '.join(changes)}."
    )


def _estimate(
    params: Mapping[str, Any], feature_map: FeatureMap, fields: list[_Field]
) -> Footprint | None:
    """Return what training takes, or None if the twin cannot take a step."""
    gpu = params["gpu"]
    # The run's own draws must not depend on the twin's.
    with torch.random.fork_rng(devices=[gpu] if gpu >= 0 else []):
        smaller = _parameter_bytes(_twin(params, feature_map, _TWIN_IDS))
        twin = _twin(params, feature_map, _TWIN_IDS + 1)
        id_bytes = _parameter_bytes(twin) - smaller
        try:
            row_bytes = _row_bytes(twin, params["label_col"])
            twin.optimizer.step()
        except Exception as error:  # noqa: BLE001  a model of another package may need more than a few rows
            logger.warning("The memory for training cannot be estimated: %s", error)
            return None
    dims = sum(field.dim for field in fields)
    # In numbers of one table; id_bytes / dims is the number of tables.
    learnt = sum(field.ids * field.learnt for field in fields)
    tables = id_bytes * learnt // dims if dims else 0
    frozen = _FLOAT * sum(field.ids * field.frozen for field in fields)
    dense = smaller - _TWIN_IDS * id_bytes
    states = twin.optimizer.state.items()
    kept = sum(
        tensor.nbytes
        for parameter, state in states
        for tensor in state.values()
        if getattr(tensor, "shape", None) == parameter.shape
    )
    weights = max(sum(parameter.nbytes for parameter, _ in states), 1)
    activations = int(row_bytes * params["batch_size"])
    recorded = isinstance(getattr(twin, "_adam_step", None), GraphedStep)
    waiting = 0
    if getattr(twin, "skips_lost_steps", False):
        # Batches are kept until their losses are looked at.
        row = synthetic_batch(feature_map, params["label_col"], rows=1)
        numbers = sum(column.numel() for column in row.values())
        waiting = LOOK_TOGETHER * params["batch_size"] * numbers * _FLOAT
    return Footprint(
        tables=tables + frozen,
        dense=dense,
        gradients=dense + (0 if params.get("row_sparse") else tables),
        optimizer=int(kept / weights * (tables + dense)),
        activations=activations + waiting,
        graph=activations + dense if recorded else 0,
    )


def _twin(params: Mapping[str, Any], feature_map: FeatureMap, ids: int) -> MultiTaskModel:
    """Return the model of a run as if each vocabulary had a few ids."""
    small = copy.deepcopy(feature_map)
    for spec in small.features.values():
        if "vocab_size" in spec:
            spec["vocab_size"] = ids
        spec.pop("pretrained_emb", None)
    return build_model(dict(params), small)


def _parameter_bytes(model: MultiTaskModel) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def _row_bytes(model: MultiTaskModel, label_col: list[dict[str, Any]]) -> float:
    """Return what a row of a batch takes at the peak of a step, without the weights' gradients."""
    model.train()
    taken = []
    for rows in (_TWIN_ROWS, 2 * _TWIN_ROWS):
        sizes = _saved_sizes(model, synthetic_batch(model.feature_map, label_col, rows))
        taken.append(sum(sizes) + max(sizes, default=0))
    row_bytes = (taken[1] - taken[0]) / _TWIN_ROWS
    # Each task's gradient is a backward pass of its own, and they wait for one another.
    balanced = getattr(model, "balancer", None) is not None
    return row_bytes * (1 + model.num_tasks) if balanced else row_bytes


def _saved_sizes(model: MultiTaskModel, batch: dict[str, Tensor]) -> list[int]:
    """Take a forward and a backward pass; return the sizes of what the first kept for the second."""
    of_weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        # Held here, so that no other tensor gets its place.
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model.forward(batch)
        loss = model.compute_loss(outputs, model.get_labels(batch))
    loss.backward()
    return [t.untyped_storage().nbytes() for place, t in kept.items() if place not in of_weights]
