"""The layers, for scoring: what each computes, in the form that an exported graph runs fastest.

Maps are plain (B, in) to (B, out) products, which a runtime fuses with bias and activation. Batch norm is
part of the map before it. There are no masks of training, no dropout and no blocks of rows.

Symbols: B batch, G MLPs of a group, S input streams, H width, Q gates, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fuxictr_stem.layers import GateBank, GroupedLinear, GroupedMLP
from fuxictr_stem.layers.grouped import PerUnit

# The softmax makes 0 of it, whatever the other logits are.
_UNREAD = -1e9


class Maps(nn.Module):
    """The G maps of a `GroupedLinear`, one by one; the batch norm of their outputs becomes part of them."""

    def __init__(self, linear: GroupedLinear, norm: nn.BatchNorm1d | None = None) -> None:
        super().__init__()
        weight = linear.weight.detach()
        bias = weight.new_zeros(weight.shape[:2]) if linear.bias is None else linear.bias.detach()
        if norm is not None:
            weight, bias = _with_norm(weight, bias, norm)
        self.weights, self.biases = (
            nn.ParameterList(nn.Parameter(part.clone(), requires_grad=False) for part in parts)
            for parts in (weight, bias)
        )

    def forward(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Apply each map to its input; (B, in) to (B, out)."""
        return [
            functional.linear(x, weight, bias)
            for x, weight, bias in zip(xs, self.weights, self.biases, strict=True)
        ]


def _with_norm(weight: Tensor, bias: Tensor, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Return the maps with the batch norm after them, whose statistics are those of training."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = (norm.running_var.double() + norm.eps).rsqrt() * norm.weight.detach().double()
    factor = factor.view_as(bias)
    shift = norm.bias.detach().double().view_as(bias)
    mean = norm.running_mean.double().view_as(bias)
    normed = (bias.double() - mean) * factor + shift
    return (weight.double() * factor[..., None]).to(weight), normed.to(bias)


class ScoringMLP(nn.Module):
    """`GroupedMLP` as G chains of plain maps."""

    def __init__(self, mlp: GroupedMLP) -> None:
        super().__init__()
        self.num_groups = mlp.num_groups
        self.layers = nn.ModuleList()
        layers = [layer for layer in mlp.layers if not isinstance(layer, nn.Dropout)]
        for place, layer in enumerate(layers):
            if isinstance(layer, GroupedLinear):
                after = layers[place + 1 : place + 2]
                self.layers.append(Maps(layer, _batch_norm(*after) if after else None))
            elif _batch_norm(layer) is None:
                self.layers.append(layer)

    def relu_group(self, *_: object) -> None:
        """Say that these MLPs run layer by layer."""
        return

    def forward(self, x_SBI: Tensor) -> Tensor:
        """Apply the MLPs; (S, B, in) with S dividing G to (G, B, out)."""
        if not self.layers:
            return x_SBI
        streams = x_SBI.unbind()
        each = self.num_groups // len(streams)
        xs = [x for x in streams for _ in range(each)]
        for layer in self.layers:
            if isinstance(layer, Maps):
                xs = layer(xs)
            elif isinstance(layer, PerUnit):
                xs = list(layer(torch.stack(xs)).unbind())
            else:
                xs = [layer(x) for x in xs]
        return torch.stack(xs)


def _batch_norm(layer: nn.Module) -> nn.BatchNorm1d | None:
    """Return the batch norm that a layer is; None for others, also for Dice, which only contains one."""
    module = layer.module if isinstance(layer, PerUnit) else None
    return module if isinstance(module, nn.BatchNorm1d) else None


class ScoringGates(nn.Module):
    """`GateBank` without what a gate's loss may train: one softmax and one product for all gates."""

    def __init__(self, bank: GateBank) -> None:
        super().__init__()
        self.hidden = ScoringMLP(bank.hidden)
        self.shape = (len(bank.output), bank.num_experts)
        self.output = nn.ModuleList(
            _over_all_experts(output, reads, bank.num_experts)
            for output, reads in zip(bank.output, bank.reads, strict=True)
        )

    def weights(self, x_SBI: Tensor) -> Tensor:
        """Return the gate weights, (B, Q, E)."""
        hidden = self.hidden(x_SBI).expand(self.shape[0], -1, -1).unbind()
        logits = [output(x_BH) for output, x_BH in zip(self.output, hidden, strict=True)]
        return torch.softmax(torch.cat(logits, dim=1).unflatten(1, self.shape), dim=-1)

    def forward(self, x_SBI: Tensor, experts_EBH: Tensor) -> Tensor:
        """Mix the experts: one input per gate or one for all, and experts (E, B, H), to (Q, B, H)."""
        return torch.matmul(self.weights(x_SBI), experts_EBH.transpose(0, 1)).transpose(0, 1)


def _over_all_experts(output: nn.Module, reads: list[int], num_experts: int) -> nn.Linear:
    """Return a gate's last map with an output for each expert, those that it does not read switched off."""
    assert isinstance(output, nn.Linear)
    wide = nn.Linear(output.in_features, num_experts).requires_grad_(False)
    wide.weight.zero_()
    wide.bias.fill_(_UNREAD)
    wide.weight[reads], wide.bias[reads] = output.weight.detach(), output.bias.detach()
    return wide
