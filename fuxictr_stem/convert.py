"""Weights trained with the published STEM code (github LiangcaiSu/STEM), read into our models.

The published models name a module per part (``stem_layers.0.gate.1.mlp.2.weight``); ours keep parts of one
shape in one tensor. A rule per model yields pairs: a published name, and the part of our tensor it fills.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fuxictr_stem.errors import ConfigError, short
from fuxictr_stem.layers import GroupedLinear, GroupedMLP
from fuxictr_stem.layers.grouped import PerUnit
from fuxictr_stem.models import AITM, ESMM, PLE, MMoE, MultiTaskNet, OMoE, SharedBottom, STEMNet

# A published name and what it fills; None where ours has no use for it.
_Pairs = Iterator[tuple[str, Tensor | None]]


@torch.no_grad()
def load_reference_state_dict(model: MultiTaskNet, state_dict: Mapping[str, Any]) -> None:
    """Load weights trained with the published code into our model of the same kind.

    Args:
        model: Our model, with the sizes of the published one.
        state_dict: The published model's state dict; arrays or tensors by name. The gate that the
            published last STEM layer has, which nothing reads, is left out.

    Raises:
        ConfigError: If it is not a state dict, or a tensor is missing, left over or of another shape; the
            message names them, and the model keeps its weights.
    """
    if not isinstance(state_dict, Mapping):
        raise ConfigError(
            f"state_dict must map names to tensors, found {short(state_dict)}. Read a file by "
            "torch.load(path, weights_only=True), which executes nothing from the file."
        )
    rule = _RULES.get(type(model))
    if rule is None:
        names = ", ".join(sorted(kind.__name__ for kind in _RULES))
        raise ConfigError(
            f"model: the published code has no {type(model).__name__}; weights of these can be read: "
            f"{names}."
        )
    _check_storage(model)
    state = {name: _tensor(name, value) for name, value in state_dict.items()}
    _drop_padding(model, state)
    parts = {
        name: part
        for pairs in (_embedding(model), rule(state, model), _towers(state, model))
        for name, part in pairs
    }
    wanted = {name: part for name, part in parts.items() if part is not None}
    misshapen = [
        f"{name} ({tuple(state[name].shape)}, here {tuple(part.shape)})"
        for name, part in wanted.items()
        if name in state and state[name].shape != part.shape
    ]
    problems = {
        "missing": wanted.keys() - state.keys(),
        "left over": state.keys() - parts.keys(),
        "of another shape": misshapen,
    }
    if any(problems.values()):
        texts = [f"{what}: {', '.join(sorted(names))}" for what, names in problems.items() if names]
        raise ConfigError(
            f"state_dict does not fit this {type(model).__name__}. {'; '.join(texts)}."
        )
    for name, part in wanted.items():
        part.copy_(state[name])


def _tensor(name: object, value: Any) -> Tensor:
    """Return a value as a tensor that holds a real number at each place, as a copy of its rows needs."""
    try:
        tensor = torch.as_tensor(value)
        special = tensor.is_nested or tensor.is_quantized or tensor.is_meta or tensor.is_complex()
        if isinstance(name, str) and tensor.layout == torch.strided and not special:
            return tensor
    except (TypeError, ValueError, RuntimeError):
        pass
    shown = " ".join(short(value).split())
    raise ConfigError(
        f"state_dict: {name!r} must be the name of a tensor, dense and of real numbers, found {shown}."
    )


def _check_storage(model: MultiTaskNet) -> None:
    """Reject models with fields whose weights have another form here."""
    embedding: Any = model.embedding_layer
    projected = [
        name
        for name, encoder in embedding.encoder_of.items()
        if next(embedding.encoders[encoder].parameters(), None) is not None
    ]
    if embedding.pretrained_of or projected:
        raise ConfigError(
            f"The published weights of {sorted({*embedding.pretrained_of, *projected})} cannot be "
            "read: here each table has pretrained vectors and projections of its own."
        )


def _field(name: str) -> str:
    return f"embedding_layer.embedding_layer.embedding_layers.{name}.weight"


def _drop_padding(model: MultiTaskNet, state: dict[str, Tensor]) -> None:
    """Leave out the row of padding of each published table; ours shares one."""
    embedding: Any = model.embedding_layer
    for name, (table, vocab) in embedding.vocab_of.items():
        weight = state.get(_field(name))
        # A single number has no rows; its shape is an error that is found later.
        if weight is not None and weight.dim() and embedding.tables[table].padded[vocab]:
            state[_field(name)] = weight[1:]


def _embedding(model: MultiTaskNet) -> _Pairs:
    """Yield the wide tables; published and ours hold the tables next to each other in one order."""
    embedding: Any = model.embedding_layer
    for name, (table, vocab) in embedding.vocab_of.items():
        tables = embedding.tables[table]
        yield _field(name), tables.table.weight[tables.rows(vocab)]
    for names, numeric in zip(embedding.layout.numeric, embedding.numeric, strict=True):
        for name, row in zip(names, numeric.weight, strict=True):
            yield _field(name), row[:, None]


def _module_numbers(state: Iterable[str], prefix: str) -> list[int]:
    """Return the numbers of the modules with a state below a prefix, in order."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return sorted({int(match[1]) for name in state if (match := pattern.match(name))})


def _mlp(state: Iterable[str], prefix: str, mlp: GroupedMLP, group: int) -> _Pairs:
    """Yield one published ``MLP_Block`` for one group of ours."""
    layers = [layer for layer in mlp.layers if next(layer.parameters(), None) is not None]
    # The published numbers count activations and dropouts, too.
    numbers = _module_numbers(state, f"{prefix}.mlp")
    for i, layer in enumerate(layers):
        name = f"{prefix}.mlp.{numbers[i] if i < len(numbers) else f'<{i}>'}"
        if isinstance(layer, GroupedLinear):
            yield f"{name}.weight", layer.weight[group]
            if layer.bias is not None:
                yield f"{name}.bias", layer.bias[group]
        elif isinstance(layer, PerUnit):
            for key, value in layer.module.state_dict().items():
                part = value.view(mlp.num_groups, -1)[group] if value.dim() else value
                yield f"{name}.{key}", part


def _linear(name: str, linear: nn.Linear) -> _Pairs:
    yield f"{name}.weight", linear.weight
    yield f"{name}.bias", linear.bias


def _towers(state: Iterable[str], model: MultiTaskNet) -> _Pairs:
    for task in range(model.num_tasks):
        yield from _mlp(state, f"tower.{task}", model.towers, task)


def _gate(state: Iterable[str], name: str, gates: Any, gate: int) -> _Pairs:
    """Yield one published gate: hidden layers, then a linear map to its experts."""
    numbers = _module_numbers(state, f"{name}.mlp")
    last = f"{name}.mlp.{numbers[-1] if numbers else '<last>'}"
    yield from _linear(last, gates.output[gate])
    others = [name for name in state if not name.startswith(f"{last}.")]
    yield from _mlp(others, name, gates.hidden, gate)


def _expert_layers(part: str, state: Iterable[str], model: STEMNet | PLE) -> _Pairs:
    """Yield a stack of specific and shared experts and their gates."""
    layer: Any
    for depth, layer in enumerate(model.experts.layers):
        prefix = f"{part}.{depth}"
        per_task = layer.specific_experts.num_groups // model.num_tasks
        for expert in range(layer.shared_experts.num_groups):
            name = f"{prefix}.shared_experts.{expert}"
            yield from _mlp(state, name, layer.shared_experts, expert)
        for expert in range(layer.specific_experts.num_groups):
            name = f"{prefix}.specific_experts.{expert // per_task}.{expert % per_task}"
            yield from _mlp(state, name, layer.specific_experts, expert)
        for gate in range(len(layer.gates.output)):
            yield from _gate(state, f"{prefix}.gate.{gate}", layer.gates, gate)
        if not layer.shared_output:
            # The published last layer has a shared gate whose output nothing reads.
            unread = f"{prefix}.gate.{model.num_tasks}."
            yield from ((name, None) for name in state if name.startswith(unread))


def _mixture(part: str, state: Iterable[str], model: MMoE) -> _Pairs:
    for expert in range(model.experts.num_groups):
        yield from _mlp(state, f"{part}.experts.{expert}", model.experts, expert)
    for gate in range(len(model.gates.output)):
        name = f"{part}.gate" if isinstance(model, OMoE) else f"{part}.gate.{gate}"
        yield from _gate(state, name, model.gates, gate)


def _aitm(state: Iterable[str], model: AITM) -> _Pairs:
    linear: Any
    for task in range(model.num_tasks):
        yield from _mlp(state, f"bottom.{task}", model.bottoms, task)
    for i, linear in enumerate(model.transfers):
        yield from _linear(f"g.{i}", linear)
    for name, part in (("h1", "value"), ("h2", "key"), ("h3", "query")):
        if part in model.attention:
            linear = model.attention[part]
            yield from _linear(name, linear)


_RULES: dict[type, Callable[[Iterable[str], Any], _Pairs]] = {
    AITM: _aitm,
    ESMM: lambda state, model: iter(()),
    MMoE: partial(_mixture, "mmoe_layer"),
    OMoE: partial(_mixture, "omoe_layer"),
    PLE: partial(_expert_layers, "cgc_layers"),
    STEMNet: partial(_expert_layers, "stem_layers"),
    SharedBottom: lambda state, model: _mlp(state, "bottom", model.bottom, 0),
}
