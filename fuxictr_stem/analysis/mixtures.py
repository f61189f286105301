"""What gates do with the experts, measured where they stand in a model.

The outputs of a layer's experts are replaced by chosen ones while the model runs on a real batch. So
whatever stands between experts and mixture counts, not only the gates' own code.

Symbols: B batch, Q gates, E experts, H expert width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fuxictr_stem.analysis.gradient_flow import Batch, undisturbed
from fuxictr_stem.analysis.model_parts import expert_names, model_labels, stream_names
from fuxictr_stem.layers import ExpertLayer, GateBank, GroupedMLP


@dataclass(frozen=True)
class Mixture:
    """Gates over experts, at one place of a model.

    Attributes:
        name: The place, ``layer 1`` or the path of the gates.
        bank: The gates.
        gates: Whose each gate is: a label, ``shared``, or None for one that serves all tasks, Q.
        experts: Names of the experts, E.
        owners: Whose each expert is: a label, ``shared`` or None, E.
        sources: The modules whose outputs are the experts; none where only the gates are known.
        mixed: The module that puts the mixtures out, and whether they are what it reads instead.
    """

    name: str
    bank: GateBank
    gates: Sequence[str | None]
    experts: list[str]
    owners: Sequence[str | None]
    sources: Sequence[GroupedMLP]
    mixed: tuple[nn.Module, bool]


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


def find_mixtures(model: MultiTaskModel) -> list[Mixture]:
    """Return every place where a model's gates mix experts, in the model's order."""
    return list(_mixtures(model))


def _mixtures(model: MultiTaskModel) -> Iterator[Mixture]:
    labels = model_labels(model)
    inside: set[nn.Module] = set()
    for path, module in model.named_modules():
        if isinstance(module, ExpertLayer):
            inside.add(module.gates)
            owners, names = expert_names(module, labels)
            number = path.rpartition(".")[2]
            yield Mixture(
                name=f"layer {int(number) + 1}" if number.isdigit() else path,
                bank=module.gates,
                gates=_gate_owners(module.gates, labels),
                experts=names,
                owners=owners,
                sources=[module.specific_experts, module.shared_experts],
                mixed=(module, False),
            )
        elif isinstance(module, GateBank) and module not in inside:
            experts, towers = getattr(model, "experts", None), getattr(model, "towers", None)
            # MMoE and its kin: experts, gates and towers are modules of the model itself.
            is_flat = path == "gates" and isinstance(experts, GroupedMLP) and towers is not None
            yield Mixture(
                name=path,
                bank=module,
                gates=_gate_owners(module, labels),
                experts=[str(i + 1) for i in range(module.num_experts)],
                owners=[None] * module.num_experts,
                sources=[cast("GroupedMLP", experts)] if is_flat else [],
                mixed=(cast("nn.Module", towers), True) if is_flat else (module, False),
            )


def _gate_owners(bank: GateBank, labels: list[str]) -> Sequence[str | None]:
    count = len(bank.output)
    return [None] if count == 1 else stream_names(labels, count)


def measure(model: MultiTaskModel, batch: Batch, mixture: Mixture) -> Measured | None:
    """Measure a mixture on a batch; the model is left as it was.

    Returns:
        What was measured, or None if the model does not use these gates at all.
    """
    with undisturbed(model):
        found = _observe(model, batch, mixture)
        if found is None:
            return None
        inputs, width = found
        count, rows = mixture.bank.num_experts, inputs.shape[1]
        base = inputs.new_zeros(count, rows, width)
        with torch.no_grad():
            weights = mixture.bank.weights(inputs)
            nothing = _mix(model, batch, mixture, base)
            of_ones = _mix(model, batch, mixture, base + 1)
            counted = []
            for expert in range(count):
                one = base.clone()
                one[expert] = 1
                counted.append((_mix(model, batch, mixture, one) - nothing).mean(dim=-1))
        # The gradient of an output's sum over H into an expert that is 1 everywhere.
        experts = torch.ones_like(base, requires_grad=True)
        trained = []
        for out_BH in _mix(model, batch, mixture, experts):
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


def _observe(model: MultiTaskModel, batch: Batch, mixture: Mixture) -> tuple[Tensor, int] | None:
    """Return what the gates read on a batch, and the width of an expert."""
    read: list[Tensor] = []
    with ExitStack() as hooks, torch.no_grad():
        handle = watch_inputs(mixture.bank, read.append)
        hooks.callback(handle.remove)
        mixed = _run(model, batch, mixture)
    return (read[0], mixed[0].shape[-1]) if read and mixed else None


def watch_inputs(bank: GateBank, see: Callable[[Tensor], None]) -> RemovableHandle:
    """Call a function with what the gates read, whoever asks them for their weights."""
    return bank.hidden.register_forward_pre_hook(lambda _, args: see(args[0]))


def _mix(model: MultiTaskModel, batch: Batch, mixture: Mixture, experts_EBH: Tensor) -> Tensor:
    """Run the model with other expert outputs; return the mixtures, (Q, B, H)."""
    with ExitStack() as hooks:
        start = 0
        for source in mixture.sources:
            own = experts_EBH[start : start + source.num_groups]
            start += source.num_groups
            handle = source.register_forward_hook(lambda _, args, out, own=own: own)
            hooks.callback(handle.remove)
        if not mixture.sources:
            handle = mixture.bank.register_forward_pre_hook(lambda _, args: (args[0], experts_EBH))
            hooks.callback(handle.remove)
        return _run(model, batch, mixture)[0]


def _run(model: MultiTaskModel, batch: Batch, mixture: Mixture) -> list[Tensor]:
    """Run the model; return the mixtures of each time that they were asked for."""
    found: list[Tensor] = []
    module, is_input = mixture.mixed
    if is_input:
        handle = module.register_forward_pre_hook(lambda _, args: found.append(args[0]))
    else:
        handle = module.register_forward_hook(lambda _, args, out: found.append(out))
    try:
        model(batch)
    finally:
        handle.remove()
    return found


def _array(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()
