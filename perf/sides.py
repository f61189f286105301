"""The sides that train: plain STEM-Net under FuxiCTR's step, ours under ours, the bare products.

Each gives the seconds and losses of some steps, so that they can take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from fuxictr.pytorch.models import MultiTaskModel
from fuxictr.pytorch.torch_utils import seed_everything
from sklearn.metrics import roc_auc_score
from torch import Tensor

from fuxictr_stem import get_model
from fuxictr_stem.convert import load_reference_state_dict
from fuxictr_stem.runtime.memory import keep_freed_memory
from perf.common import timed
from perf.data import batches, feature_map, label_names, vocabulary_sizes
from perf.sizes import Setting
from tests.support.plain_models import PlainSTEM

# Batches drawn and put on the device at a time, outside the clock.
_AHEAD = 16


def _params(setting: Setting) -> dict[str, Any]:
    return {"gpu": setting.gpu, "metrics": ["AUC"], "verbose": 0, **setting.network}


def _feature_map(setting: Setting) -> Any:
    sizes = vocabulary_sizes(setting.table_rows, setting.fields)
    return feature_map(sizes, label_names(setting.tasks))


def plain_model(setting: Setting) -> MultiTaskModel:
    """Return STEM-Net from FuxiCTR's blocks, initialised by the seed."""
    seed_everything(setting.seed)
    model = PlainSTEM(_feature_map(setting), **_params(setting))
    model.model_to_device()
    return model


def our_model(setting: Setting, row_sparse: bool, same_weights: bool = True) -> MultiTaskModel:
    """Return our STEM-Net.

    Args:
        setting: The setting.
        row_sparse: Whether a step changes only the rows of the tables that the batch holds.
        same_weights: Whether it begins with the weights of the plain model.
    """
    seed_everything(setting.seed)
    params = _params(setting)
    model = get_model("STEMNet")(_feature_map(setting), row_sparse=row_sparse, **params)
    if same_weights:
        load_reference_state_dict(model, plain_model(setting).state_dict())
    return model


class Training:
    """A model that takes training steps on batches from memory.

    Args:
        setting: The setting.
        kind: ``plain``, ``exact`` (our step, FuxiCTR's semantics) or ``row_sparse``.
        keep_memory: Whether the process keeps freed memory, as our runner has it.
        same_weights: As in `our_model`.
        double: Whether it computes in float64.
        backwards: Whether the rows of its batches are in reverse order: the same sums in another
            order.
    """

    def __init__(
        self,
        setting: Setting,
        kind: str,
        keep_memory: bool,
        same_weights: bool = True,
        double: bool = False,
        backwards: bool = False,
    ) -> None:
        if keep_memory:
            keep_freed_memory()
        self.setting = setting
        self.model = (
            plain_model(setting)
            if kind == "plain"
            else our_model(setting, kind == "row_sparse", same_weights)
        )
        self.model.train()
        if double:
            labels = self.model.get_labels
            self.model.double()
            # FuxiCTR's labels are float32 always.
            self.model.get_labels = lambda batch: [y.double() for y in labels(batch)]
        self.backwards = backwards
        self.steps_done = 0
        self._waiting: list[dict[str, Tensor]] = []

    def steps(self, count: int) -> tuple[float, list[float]]:
        """Take the next steps; return their seconds and losses."""
        work = [self._next_batch() for _ in range(count)]

        def train() -> list[float]:
            # What FuxiCTR's loop and ours do with a batch; item() waits for a CUDA device.
            return [self.model.train_step(batch).item() for batch in work]

        return timed(train)

    def _next_batch(self) -> dict[str, Tensor]:
        if not self._waiting:
            seed = self.setting.seed + self.steps_done
            self._waiting = list(batches(self.setting, _AHEAD, seed))[::-1]
        self.steps_done += 1
        batch = self._waiting.pop()
        return {name: x.flip(0) for name, x in batch.items()} if self.backwards else batch

    def auc(self, count: int) -> list[float]:
        """Return each task's AUC on batches that no step has seen."""
        labels = label_names(self.setting.tasks)
        true: dict[str, list[np.ndarray]] = {label: [] for label in labels}
        pred: dict[str, list[np.ndarray]] = {label: [] for label in labels}
        self.model.eval()
        with torch.no_grad():
            for batch in batches(self.setting, count, self.setting.seed - 1):
                outputs = self.model.forward(batch)
                for label in labels:
                    true[label].append(batch[label].cpu().numpy())
                    pred[label].append(outputs[f"{label}_pred"].cpu().numpy().ravel())
        self.model.train()
        return [
            float(roc_auc_score(np.concatenate(true[label]), np.concatenate(pred[label])))
            for label in labels
        ]


Product = tuple[Callable[..., Tensor], Tensor, Tensor, Tensor]


class Products:
    """The bare matrix products of a step of STEM-Net, forward and backward, into kept outputs.

    Experts, gates, towers, and the mixing of the experts by the gates; the shared experts read the same
    input, so their first layers are one product. No bias, activation, softmax, lookup or optimizer.
    What divides by this time is a share of the floor that no arrangement of these products goes below.
    """

    def __init__(self, setting: Setting) -> None:
        self.device = f"cuda:{setting.gpu}" if setting.gpu >= 0 else "cpu"
        self.rows = setting.batch_size
        network = setting.network
        width = setting.fields * network["embedding_dim"]
        units = list(network["expert_hidden_units"])
        shared = network["num_shared_experts"]
        specific = network["num_specific_experts"] * setting.tasks
        experts = shared + specific
        forward: list[Product] = []
        backward: list[Product] = []

        first = self._linear(width, shared * units[0])
        for products in [first, *(self._mlp([width, *units]) for _ in range(specific))]:
            forward += products[0]
            backward += products[1]
        hidden = [self._mlp(units) for _ in range(shared)]
        gates = [
            self._mlp([width, *network["gate_hidden_units"], experts]) for _ in range(setting.tasks)
        ]
        towers = [
            self._mlp([units[-1], *network["tower_hidden_units"], 1]) for _ in range(setting.tasks)
        ]
        mixing = self._mix(setting.tasks, experts, units[-1])
        for products in [*hidden, *gates, mixing, *towers]:
            forward += products[0]
            backward += products[1]
        self.products = forward + backward[::-1]

    def _tensor(self, *shape: int) -> Tensor:
        return torch.full(shape, 1e-3, device=self.device)

    def _linear(self, width: int, units: int) -> tuple[list[Product], list[Product]]:
        x, weight, y = (
            self._tensor(self.rows, width),
            self._tensor(units, width),
            self._tensor(self.rows, units),
        )
        grad_x, grad_weight, grad_y = (torch.empty_like(t) for t in (x, weight, y))
        grad_y.fill_(1e-3)
        return [(torch.mm, x, weight.T, y)], [
            (torch.mm, grad_y, weight, grad_x),
            (torch.mm, grad_y.T, x, grad_weight),
        ]

    def _mlp(self, widths: list[int]) -> tuple[list[Product], list[Product]]:
        forward: list[Product] = []
        backward: list[Product] = []
        for width, units in zip(widths, widths[1:], strict=False):
            products = self._linear(width, units)
            forward += products[0]
            backward += products[1]
        return forward, backward

    def _mix(self, tasks: int, experts: int, width: int) -> tuple[list[Product], list[Product]]:
        gates, x = self._tensor(self.rows, tasks, experts), self._tensor(self.rows, experts, width)
        out, grad_out = self._tensor(self.rows, tasks, width), self._tensor(self.rows, tasks, width)
        grad_gates, grad_x = torch.empty_like(gates), torch.empty_like(x)
        return [(torch.bmm, gates, x, out)], [
            (torch.bmm, grad_out, x.mT, grad_gates),
            (torch.bmm, gates.mT, grad_out, grad_x),
        ]

    def steps(self, count: int) -> tuple[float, list[float]]:
        """Take the products of some steps; return their seconds, and no losses."""

        def multiply() -> None:
            for _ in range(count):
                for product, a, b, out in self.products:
                    product(a, b, out=out)
            if self.device != "cpu":
                torch.cuda.synchronize(self.device)

        return timed(multiply)[0], []

    def operations(self) -> Iterator[float]:
        """Yield the floating-point operations of each product."""
        for _, a, _, out in self.products:
            yield 2.0 * out.numel() * a.shape[-1]
