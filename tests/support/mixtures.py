"""What gates do with the experts, measured where they stand in a model.

The outputs of a layer's experts are replaced by chosen ones while the model runs on a real batch. So
whatever stands between experts and mixture counts, not only the gates' own code.

Symbols: B batch, Q gates, E experts, H expert width.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor

from fuxictr_stem.analysis.gradient_flow import Batch, undisturbed
from fuxictr_stem.layers import ExpertLayer, GroupedMLP
from fuxictr_stem.training.trackers.gate_means import NamedGates


@dataclass(frozen=True)
class Measured:
    """What was measured of a mixture.

    Attributes:
        weights: (Q, B, E) the gate weights.
        counted: (Q, B, E) how much a mixture changes where one expert goes from 0 to 1.
        of_ones: (Q, B) the mixture of experts that are all 1.
        trained: (Q, B, E) the gradient that each expert gets from a gate's mixture.
    """

    weights: np.ndarray
    counted: np.ndarray
    of_ones: np.ndarray
    trained: np.ndarray


def measure(model: MultiTaskModel, batch: Batch, place: NamedGates) -> Measured | None:
    """Measure the mixtures at a place on a batch; the model is left as it was.

    Returns:
        What was measured, or None if the model does not use these gates at all.
    """
    with undisturbed(model):
        found = _observe(model, batch, place)
        if found is None:
            return None
        inputs, width = found
        count, rows = place.bank.num_experts, inputs.shape[1]
        base = inputs.new_zeros(count, rows, width)
        with torch.no_grad():
            weights = place.bank.weights(inputs)
            nothing = _mix(model, batch, place, base)
            of_ones = _mix(model, batch, place, base + 1)
            counted = []
            for expert in range(count):
                one = base.clone()
                one[expert] = 1
                counted.append((_mix(model, batch, place, one) - nothing).mean(dim=-1))
        # The gradient of an output's sum over H into an expert that is 1 everywhere.
        experts = torch.ones_like(base, requires_grad=True)
        trained = []
        for out_BH in _mix(model, batch, place, experts):
            grad = None
            if out_BH.requires_grad:
                grad = torch.autograd.grad(
                    out_BH.sum(), experts, retain_graph=True, allow_unused=True
                )[0]
            trained.append(torch.zeros(count, rows) if grad is None else grad.mean(dim=-1).cpu())
    return Measured(
        _array(weights),
        _array(torch.stack(counted, dim=-1)),
        _array(of_ones.mean(dim=-1)),
        _array(torch.stack(trained).transpose(1, 2)),
    )


def layer_of(model: MultiTaskModel, place: NamedGates) -> ExpertLayer | None:
    """Return the expert layer that holds gates and experts, or None where gates stand alone."""
    layers = (module for module in model.modules() if isinstance(module, ExpertLayer))
    return next((layer for layer in layers if layer.gates is place.bank), None)


def _observe(model: MultiTaskModel, batch: Batch, place: NamedGates) -> tuple[Tensor, int] | None:
    """Return what the gates read on a batch, and the width of an expert."""
    read: list[Tensor] = []
    with ExitStack() as hooks, torch.no_grad():
        handle = place.bank.hidden.register_forward_pre_hook(lambda _, args: read.append(args[0]))
        hooks.callback(handle.remove)
        mixed = _run(model, batch, place)
    return (read[0], mixed[0].shape[-1]) if read and mixed else None


def _mix(model: MultiTaskModel, batch: Batch, place: NamedGates, experts_EBH: Tensor) -> Tensor:
    """Run the model with other expert outputs; return the mixtures, (Q, B, H)."""
    with ExitStack() as hooks:
        start = 0
        sources = _sources(model, place)
        for source in sources:
            own = experts_EBH[start : start + source.num_groups]
            start += source.num_groups
            handle = source.register_forward_hook(lambda _, args, out, own=own: own)
            hooks.callback(handle.remove)
        if not sources:
            handle = place.bank.register_forward_pre_hook(lambda _, args: (args[0], experts_EBH))
            hooks.callback(handle.remove)
        return _run(model, batch, place)[0]


def _run(model: MultiTaskModel, batch: Batch, place: NamedGates) -> list[Tensor]:
    """Run the model; return the mixtures of each time that they were asked for."""
    found: list[Tensor] = []
    layer = layer_of(model, place)
    if layer is None and _sources(model, place):
        # The towers read what MMoE and its kin mix.
        handle = model.towers.register_forward_pre_hook(lambda _, args: found.append(args[0]))
    else:
        module = layer or place.bank
        handle = module.register_forward_hook(lambda _, args, out: found.append(out))
    try:
        model(batch)
    finally:
        handle.remove()
    return found


def _sources(model: MultiTaskModel, place: NamedGates) -> list[GroupedMLP]:
    """Return the modules whose outputs are the experts; none where only the gates are known."""
    layer = layer_of(model, place)
    if layer is not None:
        return [layer.specific_experts, layer.shared_experts]
    # MMoE and its kin: experts, gates and towers are modules of the model itself.
    experts = getattr(model, "experts", None)
    is_flat = place.name == "gates" and isinstance(experts, GroupedMLP) and hasattr(model, "towers")
    return [experts] if is_flat else []


def _array(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()
