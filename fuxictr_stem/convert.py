"""Weights trained with the published STEM code (github LiangcaiSu/STEM), read into our models.

The published models name a module a part (``stem_layers.0.gate.1.mlp.2.weight``); ours keep parts of one
shape in one tensor. Each model has a list of rules that says where a part goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fuxictr_stem.errors import ConfigError, short
from fuxictr_stem.layers import GroupedLinear, GroupedMLP
from fuxictr_stem.layers.grouped import PerUnit
from fuxictr_stem.models import AITM, ESMM, PLE, MMoE, MultiTaskNet, OMoE, SharedBottom, STEMNet

_FIELD = "embedding_layer.embedding_layer.embedding_layers.{}.weight"


class _Source:
    """A state dict that is used up; what nobody takes is an error."""

    def __init__(self, state_dict: Mapping[str, Any]) -> None:
        self.left = {name: _tensor(name, value) for name, value in state_dict.items()}
        self.missing: list[str] = []
        self.misshapen: list[str] = []

    def take(self, name: str, target: Tensor) -> None:
        """Copy a tensor into a part of ours, or note what is wrong."""
        value = self.left.pop(name, None)
        if value is None:
            self.missing.append(name)
        elif value.shape != target.shape:
            shapes = f"{tuple(value.shape)}, here {tuple(target.shape)}"
            self.misshapen.append(f"{name} ({shapes})")
        else:
            target.copy_(value)

    def drop(self, prefix: str) -> None:
        """Leave out tensors that ours has no use for."""
        self.left = {n: v for n, v in self.left.items() if not n.startswith(prefix)}

    def module_numbers(self, prefix: str) -> list[int]:
        """Return the numbers of the modules with a state below ``prefix``, in order."""
        pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
        found = (pattern.match(name) for name in self.left)
        return sorted({int(match[1]) for match in found if match})


def _tensor(name: object, value: Any) -> Tensor:
    try:
        if isinstance(name, str):
            tensor = torch.as_tensor(value)
            if _is_plain(tensor):
                return tensor
    except (TypeError, ValueError, RuntimeError):
        pass
    found = " ".join(short(value).split())
    raise ConfigError(
        f"state_dict: {name!r} must be the name of a tensor, dense and of real numbers, found {found}."
    )


def _is_plain(tensor: Tensor) -> bool:
    """Say whether a tensor holds a real number at each place, as a copy of its rows needs."""
    special = tensor.is_nested or tensor.is_quantized or tensor.is_meta or tensor.is_complex()
    return tensor.layout == torch.strided and not special


def _take_mlp(source: _Source, prefix: str, mlp: GroupedMLP, group: int) -> None:
    """Read one published ``MLP_Block`` into one group of ours."""
    parts = [layer for layer in mlp.layers if next(layer.parameters(), None) is not None]
    # The published numbers count activations and dropouts, too.
    numbers = source.module_numbers(f"{prefix}.mlp")
    for i, part in enumerate(parts):
        name = f"{prefix}.mlp.{numbers[i] if i < len(numbers) else f'<{i}>'}"
        if isinstance(part, GroupedLinear):
            source.take(f"{name}.weight", part.weight[group])
            if part.bias is not None:
                source.take(f"{name}.bias", part.bias[group])
        elif isinstance(part, PerUnit):
            for key, value in part.module.state_dict().items():
                shared = value.dim() == 0
                source.take(
                    f"{name}.{key}", value if shared else value.view(mlp.num_groups, -1)[group]
                )


def _take_linear(source: _Source, name: str, linear: nn.Linear) -> None:
    source.take(f"{name}.weight", linear.weight)
    source.take(f"{name}.bias", linear.bias)


def _take_embedding(source: _Source, model: MultiTaskNet) -> None:
    """Read the wide tables; published and ours hold the tables side by side in one order."""
    embedding: Any = model.embedding_layer
    for name, (table, vocab) in embedding.vocab_of.items():
        tables = embedding.tables[table]
        key = _FIELD.format(name)
        weight = source.left.pop(key, None)
        if weight is None:
            source.missing.append(key)
            continue
        # A single number has no rows; its shape is refused in the next line.
        source.left[key] = weight[int(tables.padded[vocab]) :] if weight.dim() else weight
        source.take(key, tables.table.weight[tables.rows(vocab)])
    for names, numeric in zip(embedding.numeric_fields, embedding.numeric, strict=True):
        for name, row in zip(names, numeric.weight, strict=True):
            source.take(_FIELD.format(name), row[:, None])


def _refuse_other_storage(model: MultiTaskNet) -> None:
    """Refuse models with fields whose weights have another form here."""
    embedding: Any = model.embedding_layer
    projected = [
        name
        for name, encoder in embedding.encoder_of.items()
        if next(embedding.encoders[encoder].parameters(), None) is not None
    ]
    if embedding.pretrained_of or projected:
        raise ConfigError(
            f"The published weights of {sorted({*embedding.pretrained_of, *projected})} cannot be "
            f"read: pretrained vectors and projections are kept for each table by itself here."
        )


def _take_towers(source: _Source, model: MultiTaskNet) -> None:
    for task in range(model.num_tasks):
        _take_mlp(source, f"tower.{task}", model.towers, task)


def _take_gate(source: _Source, name: str, gates: Any, gate: int) -> None:
    """Read one published gate: hidden layers, then a linear map to its experts."""
    numbers = source.module_numbers(f"{name}.mlp")
    last = f"{name}.mlp.{numbers[-1] if numbers else '<last>'}"
    _take_linear(source, last, gates.output[gate])
    _take_mlp(source, name, gates.hidden, gate)


def _take_experts(source: _Source, model: STEMNet | PLE, part: str) -> None:
    """Read a stack of specific and shared experts and their gates."""
    layer: Any
    for depth, layer in enumerate(model.experts.layers):
        prefix = f"{part}.{depth}"
        per_task = layer.specific_experts.num_groups // model.num_tasks
        for expert in range(layer.shared_experts.num_groups):
            _take_mlp(source, f"{prefix}.shared_experts.{expert}", layer.shared_experts, expert)
        for expert in range(layer.specific_experts.num_groups):
            name = f"{prefix}.specific_experts.{expert // per_task}.{expert % per_task}"
            _take_mlp(source, name, layer.specific_experts, expert)
        if not layer.shared_output:
            # The published last layer has a shared gate whose output nobody reads.
            source.drop(f"{prefix}.gate.{model.num_tasks}.")
        for gate in range(len(layer.gates.output)):
            _take_gate(source, f"{prefix}.gate.{gate}", layer.gates, gate)
    _take_towers(source, model)


def _take_stem(source: _Source, model: STEMNet) -> None:
    _take_experts(source, model, "stem_layers")


def _take_ple(source: _Source, model: PLE) -> None:
    _take_experts(source, model, "cgc_layers")


def _take_mmoe(source: _Source, model: MMoE) -> None:
    for expert in range(model.experts.num_groups):
        _take_mlp(source, f"mmoe_layer.experts.{expert}", model.experts, expert)
    for gate in range(model.num_tasks):
        _take_gate(source, f"mmoe_layer.gate.{gate}", model.gates, gate)
    _take_towers(source, model)


def _take_omoe(source: _Source, model: OMoE) -> None:
    for expert in range(model.experts.num_groups):
        _take_mlp(source, f"omoe_layer.experts.{expert}", model.experts, expert)
    _take_gate(source, "omoe_layer.gate", model.gates, 0)
    _take_towers(source, model)


def _take_aitm(source: _Source, model: AITM) -> None:
    for task in range(model.num_tasks):
        _take_mlp(source, f"bottom.{task}", model.bottoms, task)
    linear: Any
    for i, linear in enumerate(model.transfers):
        _take_linear(source, f"g.{i}", linear)
    for name, part in (("h1", "value"), ("h2", "key"), ("h3", "query")):
        if part in model.attention:
            linear = model.attention[part]
            _take_linear(source, name, linear)
    _take_towers(source, model)


def _take_shared_bottom(source: _Source, model: SharedBottom) -> None:
    _take_mlp(source, "bottom", model.bottom, 0)
    _take_towers(source, model)


_RULES: dict[type, Callable[[_Source, Any], None]] = {
    AITM: _take_aitm,
    ESMM: _take_towers,
    MMoE: _take_mmoe,
    OMoE: _take_omoe,
    PLE: _take_ple,
    STEMNet: _take_stem,
    SharedBottom: _take_shared_bottom,
}


@torch.no_grad()
def load_reference_state_dict(model: MultiTaskNet, state_dict: Mapping[str, Any]) -> None:
    """Load weights trained with the published code into our model of the same kind.

    Args:
        model: Our model, with the sizes of the published one.
        state_dict: The published model's state dict; arrays or tensors by name. The gate that the
            published last STEM layer has and nobody reads is left out.

    Raises:
        ConfigError: If it is no state dict, or a tensor is missing, left over or of another shape; the
            message names them, and the model keeps its weights.
    """
    if not isinstance(state_dict, Mapping):
        raise ConfigError(
            f"state_dict must map names to tensors, found {short(state_dict)}. Read a file by "
            f"torch.load(path, weights_only=True), which runs nothing that the file says."
        )
    rule = _RULES.get(type(model))
    if rule is None:
        known = ", ".join(sorted(kind.__name__ for kind in _RULES))
        raise ConfigError(
            f"model: the published code has no {type(model).__name__}; weights of these can be read: "
            f"{known}."
        )
    _refuse_other_storage(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    source = _Source(state_dict)
    _take_embedding(source, model)
    rule(source, model)
    problems = [
        f"{text}: {', '.join(sorted(names))}"
        for text, names in [
            ("missing", source.missing),
            ("left over", list(source.left)),
            ("of another shape", source.misshapen),
        ]
        if names
    ]
    if problems:
        model.load_state_dict(before)
        raise ConfigError(
            f"state_dict does not fit this {type(model).__name__}. " + "; ".join(problems) + "."
        )
