r"""Gates that mix experts, each described by two 0/1 matrices: what it reads, what its loss trains.

Symbols: B batch, T tasks, Q gates (one per task, then the shared one where a further layer follows),
E experts, H expert width, K1 specific experts of each task, K2 shared experts.

A gate computes ``out_q = sum_e g[q,e] * x_e`` with ``g_q`` a softmax over the experts that it *reads*
in the forward pass. In the backward pass the gradient of ``out_q`` flows on into expert e only where
``train[q,e] = 1``; the gate's own weights and input always get theirs. With two tasks, K1 = K2 = 1 and
experts in the order task 0, task 1, shared, the All Forward Task-specific Backward gate (AFTB,
arXiv 2308.13537, "STEM-Net") is::

                     read (forward)          train (backward)
                    e0   e1   shared        e0   e1   shared
      task 0 gate [  1    1     1  ]      [  1    0     1  ]     own and shared experts learn
      task 1 gate [  1    1     1  ]      [  0    1     1  ]
      shared gate [  1    1     1  ]      [  0    0     1  ]     isolated: no task leaks through it

      x_0 --> e0 ------+----------.
                       | \  ,-----|--x-- task 1's loss stops here
                       |  \/      |
      x_s --> shared --+--/\------+--->  out_0, out_1 (forward: everything reaches everything)
                       | /  `-----|--x-- task 0's loss stops here
                       |/         |
      x_1 --> e1 ------+----------'

As one product: ``out = G @ X``, ``dG = dOut @ X^T``, ``dX = (G * train)^T @ dOut``. A zero in ``train``
makes the gradient an exact zero, not a small number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from fuxictr_stem.errors import choice_problems, raise_first
from fuxictr_stem.layers.grouped import GroupedMLP

SharedGateReads = Literal["all", "shared"]


class GateRules(NamedTuple):
    """What each gate reads and what its loss trains, as 0/1 matrices of shape (Q, E)."""

    read: Tensor
    train: Tensor


def expert_owner(num_tasks: int, num_specific_experts: int, num_shared_experts: int) -> Tensor:
    """Return the owner of each expert slot, (E,): the task's number, or T for a shared expert."""
    owners = torch.arange(num_tasks).repeat_interleave(num_specific_experts)
    return torch.cat([owners, torch.full((num_shared_experts,), num_tasks)])


def _own_and_shared(num_tasks: int, specific: int, shared: int, shared_gate: bool) -> Tensor:
    """Return which experts are a gate's own or shared, (Q, E)."""
    owner = expert_owner(num_tasks, specific, shared)
    gate = torch.arange(num_tasks + shared_gate)[:, None]
    return (owner == gate) | (owner == num_tasks)


def aftb_rules(
    num_tasks: int,
    num_specific_experts: int,
    num_shared_experts: int,
    shared_gate: bool = False,
    isolate_shared_gate: bool = True,
    auxiliary: Collection[int] = (),
) -> GateRules:
    """Return the AFTB gate: read all experts, train one's own and the shared ones.

    Args:
        num_tasks: Number of tasks, T.
        num_specific_experts: Experts of each task, K1.
        num_shared_experts: Shared experts, K2.
        shared_gate: Whether a last row describes the gate of the shared stream, for a further layer.
        isolate_shared_gate: Whether that gate trains the shared experts only. Otherwise it trains
            every expert, as the published code does; through it a task's loss then reaches the other
            tasks' experts as soon as there are two layers.
        auxiliary: Numbers of tasks that help the others and are not helped, as in STEM-AL: their gates
            read only what they train.
    """
    train = _own_and_shared(num_tasks, num_specific_experts, num_shared_experts, shared_gate)
    if shared_gate and not isolate_shared_gate:
        train[num_tasks] = True
    read, helpers = torch.ones_like(train), list(auxiliary)
    read[helpers] = train[helpers]
    return GateRules(read=read, train=train)


def cgc_rules(
    num_tasks: int,
    num_specific_experts: int,
    num_shared_experts: int,
    shared_gate: bool = False,
    shared_gate_reads: SharedGateReads = "all",
) -> GateRules:
    """Return the customized gate control of PLE: read one's own and the shared experts, train both.

    The gate of the shared stream reads all experts, as in the paper (RecSys 2020), or the shared
    ones only, as in the published codes of STEM and FuxiCTR; all else is as of `aftb_rules`.
    """
    raise_first(choice_problems("shared_gate_reads", shared_gate_reads, get_args(SharedGateReads)))
    read = _own_and_shared(num_tasks, num_specific_experts, num_shared_experts, shared_gate)
    if shared_gate and shared_gate_reads == "all":
        read[num_tasks] = True
    return GateRules(read=read, train=read)


def free_rules(num_gates: int, num_experts: int) -> GateRules:
    """Return gates that read and train every expert, as those of MMoE."""
    everything = torch.ones(num_gates, num_experts, dtype=torch.bool)
    return GateRules(read=everything, train=everything)


class _MaskedMixture(torch.autograd.Function):
    """``G @ X`` whose backward reaches X only where ``train`` is 1."""

    @staticmethod
    def forward(ctx: Any, gates_QBE: Tensor, experts_EBH: Tensor, train_QE: Tensor) -> Tensor:
        ctx.save_for_backward(gates_QBE, experts_EBH, train_QE)
        return torch.bmm(gates_QBE.transpose(0, 1), experts_EBH.transpose(0, 1)).transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        gates_QBE, experts_EBH, train_QE = ctx.saved_tensors
        grad_BQH = grads[0].transpose(0, 1)
        grad_gates = grad_experts = None
        if ctx.needs_input_grad[0]:
            grad_gates = torch.bmm(grad_BQH, experts_EBH.permute(1, 2, 0)).transpose(0, 1)
        if ctx.needs_input_grad[1]:
            masked_BEQ = (gates_QBE * train_QE[:, None, :]).permute(1, 2, 0)
            grad_experts = torch.bmm(masked_BEQ, grad_BQH).transpose(0, 1)
        return grad_gates, grad_experts, None


def mix_experts(gates_QBE: Tensor, experts_EBH: Tensor, train_QE: Tensor) -> Tensor:
    """Mix expert outputs by gate weights, (Q, B, H), with the gradient into the experts masked.

    ``train_QE`` is 1 where gate q passes its gradient on to expert e, else 0.
    """
    # Under autocast the experts are narrower than what a softmax gives.
    gates_QBE = gates_QBE.to(experts_EBH.dtype)
    return _MaskedMixture.apply(gates_QBE, experts_EBH, train_QE.to(gates_QBE.dtype))


class GateBank(nn.Module):
    """Q gates over E experts, following `GateRules`.

    The hidden layers are one batch of MLPs, as in `GroupedMLP`. The last map of each gate has as many
    outputs as the gate reads experts, so that no parameter is dead. A gate that reads nothing, or trains
    an expert that it does not read, is a ValueError.
    """

    train_mask: Tensor

    def __init__(
        self, rules: GateRules, input_dim: int, hidden_units: Sequence[int], **mlp: Any
    ) -> None:
        super().__init__()
        # Called with the weights of each batch, (Q, B, E), while something reads them.
        self.watch: Callable[[Tensor], None] | None = None
        read, train = rules.read.bool(), rules.train.bool()
        if not read.any(dim=1).all():
            raise ValueError("A gate must read at least one expert; a row of `read` is all zero.")
        if (train & ~read).any():
            raise ValueError("A gate can train only what it reads; `train` is 1 where `read` is 0.")
        num_gates, self.num_experts = read.shape
        for gate, row in enumerate(read):
            self.register_buffer(f"slots_{gate}", row.nonzero().flatten(), persistent=False)
        self.register_buffer("train_mask", train.float(), persistent=False)
        self.hidden = GroupedMLP(num_gates, input_dim, hidden_units, **mlp)
        self.output = nn.ModuleList(
            nn.Linear(self.hidden.output_dim, int(row.sum())) for row in read
        )

    @property
    def reads(self) -> list[list[int]]:
        """The experts that each gate reads."""
        return [self._slots(gate).tolist() for gate in range(len(self.output))]

    def _slots(self, gate: int) -> Tensor:
        return self.get_buffer(f"slots_{gate}")

    def weights(self, x_SBI: Tensor) -> Tensor:
        """Return the gate weights, (Q, B, E): rows sum to 1, unread experts get 0.

        There is one input per gate, (Q, B, in), or one for all, (1, B, in).
        """
        hidden = self.hidden(x_SBI).expand(len(self.output), -1, -1)
        rows = []
        for gate, (x_BH, output) in enumerate(zip(hidden, self.output, strict=True)):
            weights = torch.softmax(output(x_BH), dim=-1)
            if weights.shape[1] < self.num_experts:
                full = weights.new_zeros(len(weights), self.num_experts)
                weights = full.index_copy(1, self._slots(gate), weights)
            rows.append(weights)
        weights_QBE = torch.stack(rows)
        if self.watch is not None:
            self.watch(weights_QBE)
        return weights_QBE

    def forward(self, x_SBI: Tensor, experts_EBH: Tensor) -> Tensor:
        """Mix the experts: inputs as for `weights` and experts (E, B, H) to (Q, B, H)."""
        return mix_experts(self.weights(x_SBI), experts_EBH, self.train_mask)
