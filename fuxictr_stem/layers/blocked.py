"""Groups of ReLU MLPs on the CPU, a block of rows at a time, so that activations stay in the cache.

A layer's activations of all groups are far larger than the cache: as batched products with an activation
between them, most of the time outside the products is memory traffic. Here one MLP runs on one block of
rows from its first layer to its last, and back; the activation works in place.

Symbols: B batch, S input streams, G MLPs of a group, H output width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_ROWS = 1024


class ReLUGroup(NamedTuple):
    """G MLPs of one shape, every layer with a ReLU but perhaps the last."""

    weights: list[Tensor]  # (G, out, in) of each layer
    biases: list[Tensor]  # (G, out) of each layer
    streams: list[int]  # number of the stream that each MLP reads, G
    ends_linear: bool  # whether the last layer has no activation


def relu_mlps(x_SBI: Tensor, groups: Sequence[ReLUGroup]) -> Tensor:
    """Run groups of MLPs with one output width: (S, B, in) to (G of all groups, B, H)."""
    flat = [p for group in groups for p in (*group.weights, *group.biases)]
    shapes = [(len(g.weights), g.streams, g.ends_linear) for g in groups]
    return _ReLUMLPs.apply(x_SBI, shapes, *flat)


class _MLP(NamedTuple):
    """One MLP: its layers' weights and biases, and where its parameters lie among all."""

    weights: list[Tensor]
    biases: list[Tensor]
    places: list[tuple[int, int, int]]  # of each layer: weight, bias, number in the group
    stream: int
    ends_linear: bool


def _each_mlp(shapes: Sequence[tuple[int, list[int], bool]], flat: Sequence[Tensor]) -> list[_MLP]:
    mlps, start = [], 0
    for depth, streams, ends_linear in shapes:
        for number, stream in enumerate(streams):
            places = [(start + i, start + depth + i, number) for i in range(depth)]
            weights = [flat[w][number] for w, _, _ in places]
            biases = [flat[b][number] for _, b, _ in places]
            mlps.append(_MLP(weights, biases, places, stream, ends_linear))
        start += 2 * depth
    return mlps


class _ReLUMLPs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_SBI: Tensor, shapes: Any, *flat: Tensor) -> Tensor:
        mlps, rows = _each_mlp(shapes, flat), x_SBI.shape[1]
        out_GBH = x_SBI.new_empty(len(mlps), rows, mlps[0].weights[-1].shape[0])
        # What each MLP's hidden layers give; the last layer writes into the output.
        hidden = [
            [*(x_SBI.new_empty(rows, len(w)) for w in mlp.weights[:-1]), out_BH]
            for mlp, out_BH in zip(mlps, out_GBH, strict=True)
        ]
        for mlp, layers in zip(mlps, hidden, strict=True):
            weights_t = [weight.t() for weight in mlp.weights]
            for x, *outs in _blocks(x_SBI[mlp.stream], *layers):
                for depth, out in enumerate(outs):
                    # addmm would write the bias first and read it again.
                    torch.mm(x, weights_t[depth], out=out).add_(mlp.biases[depth])
                    if depth < len(layers) - 1 or not mlp.ends_linear:
                        out.relu_()
                    x = out
        ctx.shapes = shapes
        ctx.save_for_backward(x_SBI, out_GBH, *flat, *(o for layers in hidden for o in layers[:-1]))
        ctx.parameters = len(flat)
        return out_GBH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_SBI, out_GBH, *rest = ctx.saved_tensors
        flat, saved = rest[: ctx.parameters], iter(rest[ctx.parameters :])
        grad_GBH, rows = grads[0], x_SBI.shape[1]
        into_x = torch.zeros_like(x_SBI) if ctx.needs_input_grad[0] else None
        into = [torch.empty_like(parameter) for parameter in flat]
        ones_B = x_SBI.new_ones(min(BLOCK_ROWS, rows))
        for number, mlp in enumerate(_each_mlp(ctx.shapes, flat)):
            layers = [*(next(saved) for _ in mlp.weights[:-1]), out_GBH[number]]
            gradients = [(into[w][at], into[b][at]) for w, b, at in mlp.places]
            into_stream = x_SBI if into_x is None else into_x
            blocks = _blocks(into_stream[mlp.stream], grad_GBH[number], x_SBI[mlp.stream], *layers)
            # The first block's gradients are written, the others' added to them.
            beta = 0
            for into_block, grad, *xs in blocks:
                for depth in reversed(range(len(layers))):
                    if depth < len(layers) - 1 or not mlp.ends_linear:
                        grad = torch.ops.aten.threshold_backward(grad, xs[depth + 1], 0)
                    into_weight, into_bias = gradients[depth]
                    into_weight.addmm_(grad.t(), xs[depth], beta=beta)
                    # A product is faster than a sum over rows.
                    into_bias.addmv_(grad.t(), ones_B[: len(grad)], beta=beta)
                    if depth:
                        grad = grad @ mlp.weights[depth]
                    elif into_x is not None:
                        into_block.addmm_(grad, mlp.weights[0])
                beta = 1
        return (into_x, None, *into)


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Return tensors of equally many rows block by block."""
    return zip(*(tensor.split(BLOCK_ROWS) for tensor in tensors), strict=True)
