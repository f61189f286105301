"""Specific and shared experts under gates: the STEM layer, the extraction layer of PLE, and between.

Symbols: B batch, T tasks, S = T + 1 streams (one per task, the shared one last), H expert width, K1
specific experts of each task, K2 shared experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fuxictr_stem.errors import choice_problems, count_problems, misfit, raise_first
from fuxictr_stem.layers.blocked import relu_mlps
from fuxictr_stem.layers.gates import GateBank, GateRules
from fuxictr_stem.layers.grouped import GroupedMLP

GateInput = Literal["task_plus_shared", "task"]
MOST_PARTS = 1_000
"""The most layers, or experts: more is a slip of the finger, and would take all memory there is."""
# Called with (T, K1, K2, whether a last row describes the gate of the shared stream).
RuleMaker = Callable[[int, int, int, bool], GateRules]


class ExpertLayer(nn.Module):
    """One layer: every stream's experts, and one gate per task that follows its rules.

    With the AFTB rules it is a STEM layer. For task i, with ``s`` the specific and ``h`` the shared
    experts' outputs and ``sg`` a stop-gradient (arXiv 2308.13537)::

        g_i = softmax(MLP_i(x_i + x_shared))
        o_i = sum_j g_ij s_ij + sum_{k != i, j} g_ikj sg(s_kj) + sum_j g_ij h_j

    With the CGC rules and ``gate_input="task"`` it is the extraction layer of PLE (RecSys 2020).

    Args:
        make_rules: What the gates read and train, as `aftb_rules` or `cgc_rules` returns it.
        num_tasks: Number of tasks, T.
        input_dim: Width of each stream.
        num_specific_experts: Experts of each task, at least 1.
        num_shared_experts: Shared experts, at least 1.
        expert_hidden_units: Widths of the expert's layers, each with an activation; the last is H.
        gate_hidden_units: Widths of the gate's hidden layers.
        shared_output: Whether the shared stream gets an output, for a further layer. The published
            code always builds that gate; in the last layer nothing reads it.
        gate_input: ``task_plus_shared`` gates on the sum of both streams, as the published STEM,
            ``task`` on the task's stream alone, as the paper's figure of STEM and as PLE.
        mlp: ``hidden_activations``, ``dropout_rates``, ``batch_norm`` of experts and gates.
    """

    def __init__(
        self,
        make_rules: RuleMaker,
        num_tasks: int,
        input_dim: int,
        num_specific_experts: int,
        num_shared_experts: int,
        expert_hidden_units: Sequence[int],
        gate_hidden_units: Sequence[int],
        shared_output: bool,
        gate_input: GateInput = "task",
        **mlp: Any,
    ) -> None:
        super().__init__()
        raise_first(count_problems(MOST_PARTS, num_specific_experts=num_specific_experts))
        raise_first(count_problems(MOST_PARTS, num_shared_experts=num_shared_experts))
        if not expert_hidden_units:
            rule = "a list with at least 1 entry"
            raise_first([misfit("expert_hidden_units", rule, expert_hidden_units)])
        raise_first(choice_problems("gate_input", gate_input, get_args(GateInput)))
        self.num_tasks = num_tasks
        self.gate_input = gate_input
        self.shared_output = shared_output
        self.specific_experts = GroupedMLP(
            num_tasks * num_specific_experts, input_dim, expert_hidden_units, **mlp
        )
        self.shared_experts = GroupedMLP(num_shared_experts, input_dim, expert_hidden_units, **mlp)
        rules = make_rules(num_tasks, num_specific_experts, num_shared_experts, shared_output)
        self.gates = GateBank(rules, input_dim, gate_hidden_units, **mlp)

    def forward(self, x_SBI: Tensor) -> Tensor:
        """Map the streams: (T+1, B, in) to (T, B, H), or (T+1, B, H) with ``shared_output``."""
        tasks, shared = x_SBI[:-1], x_SBI[-1:]
        experts_EBH = self._experts(x_SBI)
        gate_inputs = tasks + shared if self.gate_input == "task_plus_shared" else tasks
        if self.shared_output:
            gate_inputs = torch.cat([gate_inputs, shared])
        return self.gates(gate_inputs, experts_EBH)

    def _experts(self, x_SBI: Tensor) -> Tensor:
        """Return the outputs of all experts, (E, B, H): the tasks' in their order, then the shared."""
        specific = self.specific_experts.relu_group(range(self.num_tasks), x_SBI)
        shared = self.shared_experts.relu_group([self.num_tasks], x_SBI)
        if specific is not None and shared is not None:
            # Into one tensor: put together afterwards, they would be copied.
            return relu_mlps(x_SBI, [specific, shared])
        tasks, last = x_SBI[:-1], x_SBI[-1:]
        return torch.cat([self.specific_experts(tasks), self.shared_experts(last)])


class ExpertStack(nn.Module):
    """``num_layers`` expert layers, at least 1, of which the last has no shared output.

    ``input_dim`` is that of the first; ``layer`` are the other arguments of `ExpertLayer`.
    """

    def __init__(
        self,
        num_layers: int,
        num_tasks: int,
        input_dim: int,
        expert_hidden_units: Sequence[int],
        **layer: Any,
    ) -> None:
        super().__init__()
        raise_first(count_problems(MOST_PARTS, num_layers=num_layers))
        self.layers = nn.ModuleList(
            ExpertLayer(
                num_tasks=num_tasks,
                input_dim=expert_hidden_units[-1] if depth else input_dim,
                expert_hidden_units=expert_hidden_units,
                shared_output=depth < num_layers - 1,
                **layer,
            )
            for depth in range(num_layers)
        )

    def forward(self, x_SBI: Tensor) -> Tensor:
        """Map the streams: (T+1, B, in) to one representation per task, (T, B, H)."""
        for layer in self.layers:
            x_SBI = layer(x_SBI)
        return x_SBI
