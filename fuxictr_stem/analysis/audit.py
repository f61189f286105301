"""The gradient-flow audit: faults that the gradients show, whatever the model.

No definition of the model is needed; what its own structure says is enough:

- each task's loss reaches something;
- a task's own parts (table, experts, gate, tower) are reached by its loss, shared parts by every loss;
- no part is dead, which is one that no task's loss reaches;
- where gates stop gradients to some of the experts that they read (AFTB), a task's own parts are trained by
  that task alone: another task's loss reaching one is a leak. Other gates promise nothing of the kind.

ReLU units pass gradients here even where they are off: what counts is how the model is wired, not which
units a batch switches off. That each model equals its paper's definition is for the tests to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor, nn

from fuxictr_stem.analysis.gradient_flow import (
    Batch,
    GradientFlow,
    gradient_flow,
    gradient_norms,
    model_parts,
)
from fuxictr_stem.analysis.synthetic_features import synthetic_feature_map
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.layers import GateBank
from fuxictr_stem.models.part_owners import SHARED
from fuxictr_stem.registry import build_model
from fuxictr_stem.training.precision import FP32
from fuxictr_stem.training.synthetic_batch import synthetic_batch
from fuxictr_stem.training.task_loss import model_labels

_MOST_NAMED = 4


@dataclass(frozen=True)
class ExperimentAudit:
    """What the audit of an experiment gives."""

    expid: str
    model: str
    flow: GradientFlow  # which task's loss reaches which part
    findings: list[str]  # the faults, a sentence each

    def __str__(self) -> str:
        title = f"Gradient flow of {self.expid} ({self.model}), norms of each task's gradient"
        lines = [f"{len(self.findings)} findings:", *(f"- {text}" for text in self.findings)]
        if not self.findings:
            lines = [
                "No finding: every part is trained, and no loss reaches a part that it must not."
            ]
        return "\n".join([title, "", self.flow.table(), "", *lines])


def audit_experiment(config_dir: Path, expid: str) -> ExperimentAudit:
    """Build an experiment's model with fresh weights and audit it on made-up columns.

    Neither data nor cache is needed: vocabularies are small and pretrained vectors left out.
    """
    params = {**load_experiment(config_dir, expid), "gpu": -1, "precision": FP32}
    with torch.random.fork_rng():
        torch.manual_seed(params["seed"])
        model = build_model(params, synthetic_feature_map(params))
    batch = synthetic_batch(model.feature_map, params["label_col"])
    return ExperimentAudit(expid, params["model"], gradient_flow(model, batch), audit(model, batch))


def audit(model: MultiTaskModel, batch: Batch) -> list[str]:
    """Return a sentence for each fault in the gradient flow of any of FuxiCTR's multi-task models.

    The batch holds the columns of features and labels, some dozens of rows.
    """
    parts, labels = model_parts(model), model_labels(model)
    with all_units_on(model):
        norms = gradient_norms(model, batch, parts)
    banks = [module for module in model.modules() if isinstance(module, GateBank)]
    isolated = any(map(_stops_gradients, banks))
    names = [part.name for part in parts]
    findings = []
    for label, row in zip(labels, norms, strict=True):
        if not row.any():
            findings.append(nothing_reached(label))
            continue
        for_all = [part.owner in (label, SHARED) for part in parts]
        of_others = [isolated and part.owner not in (label, SHARED, None) for part in parts]
        findings += reach_findings(label, names, row, np.array(for_all), np.array(of_others))
    of_nobody = np.array([part.owner is None for part in parts])
    return findings + dead_parts(names, norms, of_nobody)


def nothing_reached(label: str) -> str:
    """Return the finding on a loss that reaches nothing."""
    return (
        f"The loss of {label} reaches nothing at all. If the batch holds no sample of this task, audit "
        "another batch."
    )


def reach_findings(
    label: str, names: Sequence[str], norms: np.ndarray, required: np.ndarray, barred: np.ndarray
) -> list[str]:
    """Return what one task's loss misses, and where it leaks; all arrays are (P,)."""
    findings = []
    missed = np.flatnonzero(required & (norms == 0)).tolist()
    if missed:
        findings.append(
            f"The loss of {label} does not reach {', '.join(names[i] for i in missed)}: measured "
            "gradient norm 0, expected more than 0."
        )
    # Where nothing may flow, the smallest gradient is one too many.
    leaks = np.flatnonzero(barred & (norms != 0)).tolist()
    if leaks:
        findings.append(
            f"The loss of {label} reaches {with_values([names[i] for i in leaks], norms[leaks])}: "
            "measured gradient norms in brackets, expected exactly 0."
        )
    return findings


def dead_parts(names: Sequence[str], norms: np.ndarray, candidates: np.ndarray) -> list[str]:
    """Return a finding for each candidate, (P,), that no task's loss reaches in norms, (T, P)."""
    return [
        f"No task's loss reaches {names[i]}: it is a dead part, which nothing trains."
        for i in np.flatnonzero(candidates & ~norms.any(axis=0)).tolist()
    ]


def with_values(names: Sequence[str], values: Sequence[float] | np.ndarray) -> str:
    """Return names with their values, at most four of them."""
    shown = [f"{name} ({value:.3g})" for name, value in zip(names, values, strict=True)]
    more = len(shown) - _MOST_NAMED
    return ", ".join(shown[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def all_units_on(model: MultiTaskModel) -> Iterator[None]:
    """Let gradients pass ReLU units that are off; values stay as they are."""
    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                hooks.callback(module.register_forward_hook(_straight_through).remove)
        yield


def _straight_through(module: nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
    return args[0] + (out - args[0]).detach()


def _stops_gradients(bank: GateBank) -> bool:
    """Say whether a gate reads an expert that it does not train."""
    return int(bank.train_mask.count_nonzero()) < sum(map(len, bank.reads))
