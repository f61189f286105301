"""Gradient flow: which task's loss reaches which part of a model, measured.

Parts are what people name: tables, experts, gates, bottoms, towers. What belongs to several tasks or
experts lies in one parameter here (a wide row holds K tables, a batched MLP holds all experts), so a part
is a list of slices of parameters. The parts do not overlap, and together are all trainable parameters but
those that weigh the losses.

Symbols: T tasks, P parts of the model, K tables, G groups of a batched MLP, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from fuxictr.pytorch.layers import FeatureEmbedding
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor, nn

from fuxictr_stem.layers import (
    ExpertLayer,
    ExpertStack,
    GateBank,
    GroupedLinear,
    GroupedMLP,
)
from fuxictr_stem.models.features import TaskEmbedding
from fuxictr_stem.models.part_owners import expert_names, stream_owners
from fuxictr_stem.runtime.text_table import text_table
from fuxictr_stem.training.loss_weights import TaskWeights
from fuxictr_stem.training.task_loss import model_labels, task_losses

Batch = dict[str, Tensor]

# A parameter, and the axis and range of it that belong to a part.
Piece = tuple[nn.Parameter, int, slice]


@dataclass(frozen=True)
class Part:
    """A part of a model."""

    name: str  # such as ``layer 1 expert like.2``; for what is not known, the path of the module
    owner: str | None  # the task's label, ``shared``, or None if no task owns it
    pieces: tuple[Piece, ...]  # the slices of parameters that it consists of

    def take(self, gradients: dict[nn.Parameter, Tensor]) -> Iterator[Tensor]:
        """Yield this part's slices of gradients by parameter; what has none is left out."""
        for parameter, axis, part in self.pieces:
            if parameter in gradients:
                yield gradients[parameter][(slice(None),) * axis + (part,)]


@dataclass(frozen=True)
class GradientFlow:
    """How strongly each task's loss pulls at each part of a model."""

    labels: list[str]  # the tasks, T
    parts: list[str]  # names of the parts in reading order, P
    # (T, P) float64, the Euclidean norm of the gradient of one task's mean loss alone with
    # respect to a part's parameters. What the loss cannot reach is exactly 0.
    norms: np.ndarray

    def __str__(self) -> str:
        """Return the matrix as text, one line per part and one column per task; an exact zero is ``0``."""
        rows = [["", *self.labels]]
        for part, norms in zip(self.parts, self.norms.T, strict=True):
            rows.append([part, *(f"{norm:.2e}" if norm else "0" for norm in norms)])
        return text_table(rows)


def gradient_flow(model: MultiTaskModel, batch: Batch) -> GradientFlow:
    """Measure which task's loss reaches which part of any of FuxiCTR's multi-task models.

    Each task's mean loss over the batch is differentiated by itself, without regularisers and loss
    weights, in evaluation mode. Mode, weights, gradients and random state stay as they are.
    """
    parts = model_parts(model)
    parameters = list(dict.fromkeys(piece[0] for part in parts for piece in part.pieces))
    with undisturbed(model):
        losses = task_losses(model, model(batch), model.get_labels(batch))
        norms = np.zeros((len(losses), len(parts)))
        for task, loss in enumerate(losses):
            if not loss.requires_grad:
                continue
            grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            reached = {p: g for p, g in zip(parameters, grads, strict=True) if g is not None}
            for place, part in enumerate(parts):
                squares = (piece.double().square().sum().item() for piece in part.take(reached))
                norms[task, place] = sum(squares) ** 0.5
    return GradientFlow(model_labels(model), [part.name for part in parts], norms)


@contextmanager
def undisturbed(model: MultiTaskModel) -> Iterator[None]:
    """Evaluation mode with gradients on; each module's mode and the random state come back."""
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        model.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training


def model_parts(model: MultiTaskModel) -> list[Part]:
    """Cut any of FuxiCTR's multi-task models into its parts with a trainable parameter, in reading order.

    Tables, expert layers, gates and batched MLPs are known by their type, also in models of other
    packages. Any other module is a part by itself, named by its path; lists of modules, and modules
    that hold lists, are opened.
    """
    labels = getattr(model, "tower_labels", model_labels(model))
    return [part for part in _children(model, "", labels) if part.pieces]


def _children(module: nn.Module, path: str, labels: list[str]) -> Iterator[Part]:
    """Yield the parts of each child, and each parameter that is the module's own."""
    for name, child in module.named_children():
        yield from _parts(child, f"{path}.{name}".lstrip("."), labels)
    for name, parameter in module.named_parameters(recurse=False):
        yield Part(f"{path}.{name}".lstrip("."), None, _whole([parameter]))


def _parts(module: nn.Module, path: str, labels: list[str]) -> Iterator[Part]:
    name = path.rpartition(".")[2]
    if isinstance(module, TaskWeights):
        # Learnt weights of the losses are no part of the network.
        return
    if isinstance(module, TaskEmbedding):
        yield from _tables(module, labels)
    elif isinstance(module, ExpertStack):
        for number, layer in enumerate(cast("list[ExpertLayer]", list(module.layers)), start=1):
            owners, names = expert_names(layer, labels)
            groups = [*_groups(layer.specific_experts), *_groups(layer.shared_experts)]
            yield from _named(f"layer {number} expert", names, owners, groups)
            yield from _gates(layer.gates, f"layer {number} gate", labels)
    elif isinstance(module, GateBank):
        yield from _gates(module, "gate", labels)
    elif isinstance(module, GroupedMLP):
        yield from _mlps(module, name.removesuffix("s"), labels)
    elif name == "transfers" and isinstance(module, nn.ModuleList):
        pieces = [_whole(child.parameters()) for child in module]
        yield from _named("transfer to", labels[1:], labels[1:], pieces)
    elif isinstance(module, FeatureEmbedding):
        yield Part("table", None, _whole(module.parameters()))
    elif any(isinstance(child, _OPENED) for child in module.modules()):
        yield from _children(module, path, labels)
    else:
        yield Part(path.replace(".", " "), None, _whole(module.parameters()))


_OPENED = (nn.ModuleList, nn.ModuleDict, TaskEmbedding, ExpertStack, GateBank, GroupedMLP)


def _named(
    kind: str,
    names: Sequence[str | None],
    owners: Sequence[str | None],
    pieces: Sequence[tuple[Piece, ...]],
) -> Iterator[Part]:
    """Yield parts of one kind, one per name; a part without a name is called by its kind."""
    for name, owner, piece in zip(names, owners, pieces, strict=True):
        yield Part(f"{kind} {name}" if name else kind, owner, piece)


def _tables(embedding: TaskEmbedding, labels: list[str]) -> Iterator[Part]:
    """Cut wide rows by columns, and batched projections by their first axis."""
    count = embedding.num_tables
    batched = {
        parameter
        for module in embedding.modules()
        if isinstance(module, GroupedLinear)
        for parameter in module.parameters()
    }
    parameters = _trainable(embedding.parameters())
    cuts = [_cut(parameter, count, parameter not in batched) for parameter in parameters]
    owners = stream_owners(labels, count)
    tables = [tuple(pieces[table] for pieces in cuts) for table in range(count)]
    return _named("table", owners, owners, tables)


def _gates(bank: GateBank, kind: str, labels: list[str]) -> Iterator[Part]:
    gates = zip(_groups(bank.hidden), bank.output, strict=True)
    pieces = [hidden + _whole(output.parameters()) for hidden, output in gates]
    owners = stream_owners(labels, len(bank.output))
    return _named(kind, owners, owners, pieces)


def _mlps(module: GroupedMLP, kind: str, labels: list[str]) -> Iterator[Part]:
    """Name the MLPs of a batch: by task where there is one per task, else by number."""
    groups = _groups(module)
    no_owners = [None] * len(groups)
    if len(groups) == 1:
        return _named(kind, no_owners, no_owners, groups)
    # As many experts as tasks still belong to no task.
    if len(groups) == len(labels) and kind != "expert":
        return _named(kind, labels, labels, groups)
    return _named(kind, [str(i + 1) for i in range(len(groups))], no_owners, groups)


def _groups(module: GroupedMLP) -> list[tuple[Piece, ...]]:
    """Cut each parameter of a batch of MLPs along its first axis, one part per group.

    That axis has G entries, or G times the units where a module keeps a state per unit.
    """
    cuts = [_cut(parameter, module.num_groups, 0) for parameter in _trainable(module.parameters())]
    return [tuple(pieces[group] for pieces in cuts) for group in range(module.num_groups)]


def _cut(parameter: nn.Parameter, count: int, axis: int) -> list[Piece]:
    width = parameter.shape[axis] // count
    return [(parameter, int(axis), slice(i * width, (i + 1) * width)) for i in range(count)]


def _whole(parameters: object) -> tuple[Piece, ...]:
    return tuple((parameter, 0, slice(None)) for parameter in _trainable(parameters))


def _trainable(parameters: object) -> list[nn.Parameter]:
    return [p for p in cast("Iterator[nn.Parameter]", parameters) if p.requires_grad]
