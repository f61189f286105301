"""A model, for scoring: what `torch.export` takes, and what an exported program computes.

The model's own `forward` runs; the layers that training needs in another form (`scoring_layers`,
`scoring_embedding`) are replaced, and nothing but training needs is left out. Tables keep their memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor, nn

from fuxictr_stem.layers import GateBank, GroupedMLP
from fuxictr_stem.models.features import TaskEmbedding
from fuxictr_stem.serving.scoring_embedding import ScoringEmbedding
from fuxictr_stem.serving.scoring_layers import ScoringGates, ScoringMLP
from fuxictr_stem.serving.stored_rows import FLOAT32, StoredRows

# Modules of a model that only training uses.
_TRAINING = ("loss_sums", "task_weights", "balancer")


class ScoringModule(nn.Module):
    """A model in evaluation mode, on the CPU, from columns to one score per task.

    The model itself stays as it is. A model of another package is left whole, so that what it does with an
    id outside its vocabulary is its own affair; in ours that is read as the field's ``unknown`` id, by
    default the last. ``names`` are the columns that the model reads, ``outputs`` the scores',
    ``{label}_pred``, in the order of the model's tasks.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        unknown: Mapping[str, int] | None = None,
        stored_as: str = FLOAT32,
    ) -> None:
        super().__init__()
        features = model.feature_map.features.items()
        self.names = [name for name, spec in features if spec["type"] != "meta"]
        self.outputs = [
            f"{label}_pred" for label in getattr(model, "labels", model.feature_map.labels)
        ]
        self.model = self._scoring(model, unknown or {}, stored_as)
        for name in _TRAINING:
            self.model._modules.pop(name, None)
        self.eval()

    def _scoring(self, module: nn.Module, unknown: Mapping[str, int], stored_as: str) -> nn.Module:
        """Return a module's counterpart for scoring; what needs no other form shares everything with it."""
        if isinstance(module, TaskEmbedding):
            return ScoringEmbedding(module, unknown, stored_as)
        if isinstance(module, GateBank):
            return ScoringGates(module)
        if isinstance(module, GroupedMLP):
            return ScoringMLP(module)
        twin = copy.copy(module)
        twin._modules = {
            name: child and self._scoring(child, unknown, stored_as)
            for name, child in module._modules.items()
        }
        return twin

    def forward(self, columns: dict[str, Tensor]) -> dict[str, Tensor]:
        """Score a batch of columns by name, to the tasks' scores, (B,) each, by `outputs`.

        Columns are ids (B,), sequences of ids (B, L), numbers (B,) and vectors (B, P).
        """
        scores = self.model(columns)
        return {name: scores[name].flatten() for name in self.outputs}

    def tables(self) -> Iterator[StoredRows]:
        """Yield the tables as they are stored."""
        return (module for module in self.modules() if isinstance(module, StoredRows))
