"""The large maps of a network in ONNX with weights of 8 bits: a row alone reads a quarter of the bytes.

onnxruntime's ``MatMulNBits``: 32 weights of an output share a scale, their largest / 127. It rounds each
row's inputs to 8 bits, too, 32 at a time, so that a row's score does not depend on the rows with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SMALLEST_MAP = 1 << 16
"""The fewest weights of a map that is stored in 8 bits: a smaller one gains nothing."""

_BLOCK = 32
_LARGEST = 127
_ZERO = 128
_DOMAIN = "com.microsoft"
# Products of 8-bit numbers, summed in 32 bits.
_INT8_PRODUCTS = 4


def shrink_maps(model: Any) -> tuple[int, int]:
    """Replace the large maps of a model, an `onnx_ir.Model`; return the bytes of all before and after."""
    import onnx_ir as ir

    graph = model.graph
    before = after = 0
    for weight in list(graph.initializers.values()):
        maps = [node for node, place in weight.uses() if place == 1 and _is_map(node)]
        if not maps:
            continue
        weight_OI = weight.const_value.numpy()
        before += weight_OI.nbytes
        if weight_OI.size < SMALLEST_MAP:
            after += weight_OI.nbytes
            continue
        constants = []
        for kind, array in zip(("int8", "scale"), _in_blocks(weight_OI), strict=True):
            after += array.nbytes
            name = f"{weight.name}.{kind}"
            constants.append(ir.Value(name=name, const_value=ir.tensor(array, name=name)))
            graph.initializers.add(constants[-1])
        sizes = dict(zip("NK", weight_OI.shape, strict=True))
        attributes = sizes | {"bits": 8, "block_size": _BLOCK, "accuracy_level": _INT8_PRODUCTS}
        for node in maps:
            x, _, *bias = node.inputs
            # Without zero points, which then are 128, and an order of inputs.
            parts = [x, *constants, None, None, *bias]
            short = ir.node("MatMulNBits", parts, attributes, domain=_DOMAIN, name=node.name)
            ir.convenience.replace_nodes_and_values(
                graph, node, [node], [short], node.outputs, short.outputs
            )
        if not weight.uses():
            graph.initializers.pop(weight.name)
    model.opset_imports[_DOMAIN] = 1
    return before, after


def _is_map(node: Any) -> bool:
    """Say whether a node is x W' + b, as `torch.nn.functional.linear` is written."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    plain = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
    return node.op_type == "Gemm" and {**plain, "transB": 0, **attributes} == plain


def _in_blocks(weight_OI: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights in 8 bits, (O, blocks, block), and the scales of their blocks, (O * blocks,)."""
    outputs, inputs = weight_OI.shape
    padded = np.pad(weight_OI, ((0, 0), (0, -inputs % _BLOCK)))
    blocks = padded.reshape(outputs, -1, _BLOCK)
    scales = np.abs(blocks).max(axis=2) / np.float32(_LARGEST)
    whole = np.rint(blocks / np.where(scales > 0, scales, 1)[..., None]) + _ZERO
    return whole.astype(np.uint8), scales.ravel()
