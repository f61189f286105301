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

from fuxictr_stem.analysis.gradient_flow import Batch, GradientFlow, gradient_flow, model_parts
from fuxictr_stem.analysis.synthetic_features import synthetic_feature_map
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.layers import GateBank
from fuxictr_stem.models.part_owners import SHARED
from fuxictr_stem.registry import build_model
from fuxictr_stem.training.precision import FP32
from fuxictr_stem.training.synthetic_batch import synthetic_batch

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
        return "\n".join([title, "", str(self.flow), "", *lines])


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
    owners = [part.owner for part in model_parts(model)]
    with all_units_on(model):
        flow = gradient_flow(model, batch)
    banks = [module for module in model.modules() if isinstance(module, GateBank)]
    isolated = any(map(_stops_gradients, banks))
    for_all = [[owner in (label, SHARED) for owner in owners] for label in flow.labels]
    of_others = [
        [isolated and owner not in (label, SHARED, None) for owner in owners]
        for label in flow.labels
    ]
    of_nobody = [owner is None for owner in owners]
    return flow_findings(flow, np.array(for_all), np.array(of_others), np.array(of_nobody))


def flow_findings(
    flow: GradientFlow, required: np.ndarray, barred: np.ndarray, candidates: np.ndarray
) -> list[str]:
    """Return what each task's loss misses, where it leaks, and which parts are dead.

    ``required`` and ``barred`` are the parts that a task's loss must and must not reach, (T, P);
    ``candidates`` those that are dead if no loss reaches them, (P,).
    """
    findings = []
    for label, norms, must, must_not in zip(flow.labels, flow.norms, required, barred, strict=True):
        if not norms.any():
            findings.append(
                f"The loss of {label} reaches nothing at all. If the batch holds no sample of this "
                "task, audit another batch."
            )
            continue
        missed = np.flatnonzero(must & (norms == 0))
        if len(missed):
            findings.append(
                f"The loss of {label} does not reach {', '.join(flow.parts[i] for i in missed)}: "
                "measured gradient norm 0, expected more than 0."
            )
        # Where nothing may flow, the smallest gradient is one too many.
        leaks = np.flatnonzero(must_not & (norms != 0))
        if len(leaks):
            findings.append(
                f"The loss of {label} reaches "
                f"{with_values([flow.parts[i] for i in leaks], norms[leaks])}: measured gradient norms "
                "in brackets, expected exactly 0."
            )
    dead = np.flatnonzero(candidates & ~flow.norms.any(axis=0))
    return findings + [
        f"No task's loss reaches {flow.parts[i]}: it is a dead part, which nothing trains."
        for i in dead
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
