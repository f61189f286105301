"""Groups of MLPs of one shape, computed as batched products.

Symbols: B batch, G groups (experts, gates or towers), S input streams, H width of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fuxictr.pytorch.torch_utils import get_activation
from torch import Tensor, nn

from fuxictr_stem.layers import device
from fuxictr_stem.layers.blocked import ReLUGroup, relu_mlps

Activations = str | None | Sequence[str | None]


class GroupedLinear(nn.Module):
    """G independent linear maps of one shape in one product.

    The weight is (G, out, in), a stack of ``nn.Linear`` weights. FuxiCTR's ``net_regularizer`` finds
    ``weight`` and ``bias`` by these names.
    """

    def __init__(self, num_groups: int, input_dim: int, output_dim: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_groups, output_dim, input_dim))
        self.bias = nn.Parameter(torch.empty(num_groups, output_dim)) if bias else None
        self.init_weights()

    def init_weights(self) -> None:
        """Xavier-normal weights map by map, as FuxiCTR initialises ``nn.Linear``; biases zero."""
        for weight in self.weight:
            nn.init.xavier_normal_(weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x_SBI: Tensor) -> Tensor:
        """Apply the maps: (S, B, in) to (G, B, out), S dividing G.

        Stream s feeds the maps s*G/S .. (s+1)*G/S - 1. Maps that read the same stream share one product.
        """
        num_streams, batch, input_dim = x_SBI.shape
        num_groups, output_dim, _ = self.weight.shape
        wide = num_groups // num_streams * output_dim
        weight = self.weight.view(num_streams, wide, input_dim)
        if num_streams == 1:
            bias = None if self.bias is None else self.bias.view(wide)
            out = nn.functional.linear(x_SBI[0], weight[0], bias)
        elif self.bias is None:
            out = torch.bmm(x_SBI, weight.transpose(1, 2))
        else:
            bias = self.bias.view(num_streams, 1, wide)
            out = torch.baddbmm(bias, x_SBI, weight.transpose(1, 2))
        out = out.view(num_streams, batch, num_groups // num_streams, output_dim)
        return out.transpose(1, 2).reshape(num_groups, batch, output_dim)


class PerUnit(nn.Module):
    """Run a module that keeps a state per unit (batch norm, PReLU, Dice) over all groups at once.

    The G groups of H units are G*H channels to the wrapped module, on (B, G*H), so each unit of each group
    has its own state, exactly as in G separate MLPs.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x_GBH: Tensor) -> Tensor:
        """Apply the module; (G, B, H) to (G, B, H)."""
        groups, batch, width = x_GBH.shape
        out = self.module(x_GBH.transpose(0, 1).reshape(batch, groups * width))
        return out.view(batch, groups, width).transpose(0, 1)


class GroupedMLP(nn.Module):
    """G independent MLPs of one shape: FuxiCTR's ``MLP_Block``, batched.

    Each hidden layer is linear, batch norm (optional), activation, dropout; ``output_dim`` adds a last
    linear map without activation.

    Args:
        num_groups: Number of MLPs, G.
        input_dim: Width of the input.
        hidden_units: Widths of the hidden layers.
        output_dim: Width of the output map, or None for none.
        hidden_activations: FuxiCTR activation name, or one per hidden layer.
        dropout_rates: Dropout probability, or one per hidden layer.
        batch_norm: Whether hidden layers are batch-normalised before the activation.

    Raises:
        ValueError: If a list does not have one entry per hidden layer.
    """

    def __init__(
        self,
        num_groups: int,
        input_dim: int,
        hidden_units: Sequence[int],
        output_dim: int | None = None,
        hidden_activations: Activations = "ReLU",
        dropout_rates: float | Sequence[float] = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        depth = len(hidden_units)
        activations = per_layer("hidden_activations", hidden_activations, depth)
        rates = per_layer("net_dropout", dropout_rates, depth)
        self.num_groups = num_groups
        self.output_dim = output_dim or (hidden_units[-1] if depth else input_dim)
        self.layers = nn.ModuleList()
        for units, activation, rate in zip(hidden_units, activations, rates, strict=True):
            self.layers.append(GroupedLinear(num_groups, input_dim, units))
            if batch_norm:
                self.layers.append(PerUnit(nn.BatchNorm1d(num_groups * units)))
            if activation is not None:
                module = get_activation(activation, num_groups * units)
                stateful = isinstance(module, nn.PReLU) or next(module.children(), None) is not None
                self.layers.append(PerUnit(module) if stateful else module)
            if rate > 0:
                self.layers.append(nn.Dropout(rate))
            input_dim = units
        if output_dim is not None:
            self.layers.append(GroupedLinear(num_groups, input_dim, output_dim))

    def relu_group(self, streams: Sequence[int], x_SBI: Tensor) -> ReLUGroup | None:
        """Return the MLPs as `relu_mlps` takes them, equally many per stream; None if it cannot run them.

        It runs plain ReLU MLPs on the CPU in float32 or float64; where hooks watch or replace what a
        layer gives (hooks), the layers run as they are.
        """
        kinds = [type(layer) for layer in self.layers]
        linear = [layer for layer in self.layers if isinstance(layer, GroupedLinear)]
        pairs = [GroupedLinear, nn.ReLU] * len(linear)
        in_order = bool(linear) and kinds in (pairs, pairs[:-1])
        plain = in_order and all(layer.bias is not None for layer in linear)
        watched = any(
            module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
            for module in self.modules()
        )
        if not plain or watched or not device.on_host(x_SBI) or torch.is_autocast_enabled("cpu"):
            return None
        each = self.num_groups // len(streams)
        return ReLUGroup(
            [layer.weight for layer in linear],
            [layer.bias for layer in linear if layer.bias is not None],
            [stream for stream in streams for _ in range(each)],
            ends_linear=kinds[-1] is GroupedLinear,
        )

    def forward(self, x_SBI: Tensor) -> Tensor:
        """Apply the MLPs; (S, B, in) as in `GroupedLinear` to (G, B, out)."""
        group = self.relu_group(range(len(x_SBI)), x_SBI)
        if group is not None:
            return relu_mlps(x_SBI, [group])
        for layer in self.layers:
            x_SBI = layer(x_SBI)
        return x_SBI


def per_layer(name: str, value: object, depth: int) -> list:
    """Return one entry for each of ``depth`` hidden layers: a scalar repeated, or a list of that length.

    Raises ValueError if a list has another length; ``name`` is what the message calls it.
    """
    if not isinstance(value, (list, tuple)):
        return [value] * depth
    if len(value) != depth:
        raise ValueError(
            f"{name} must be one value or a list with one entry for each of the {depth} hidden "
            f"layers, but got {len(value)} entries: {list(value)}."
        )
    return list(value)
