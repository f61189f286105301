"""The gradient-flow audit of an experiment id, without its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from fuxictr_stem.analysis.audit import audit
from fuxictr_stem.analysis.gradient_flow import GradientFlow, gradient_flow
from fuxictr_stem.analysis.synthetic_features import synthetic_feature_map
from fuxictr_stem.config import load_experiment
from fuxictr_stem.registry import build_model
from fuxictr_stem.training.precision import FP32
from fuxictr_stem.training.synthetic_batch import synthetic_batch


@dataclass(frozen=True)
class ExperimentAudit:
    """What the audit of an experiment gives.

    Attributes:
        expid: The experiment.
        model: Name of its model.
        flow: Which task's loss reaches which part.
        findings: What differs from the model's definition, a sentence each.
    """

    expid: str
    model: str
    flow: GradientFlow
    findings: list[str]

    def __str__(self) -> str:
        title = f"Gradient flow of {self.expid} ({self.model}), norms of each task's gradient"
        if self.findings:
            said = [f"{len(self.findings)} findings:", *(f"- {text}" for text in self.findings)]
        else:
            said = ["No finding: the model is wired as it is defined."]
        return "\n".join([title, "", self.flow.table(), "", *said])


def audit_experiment(config_dir: Path, expid: str) -> ExperimentAudit:
    """Build an experiment's model with fresh weights and audit it on made-up columns.

    Neither data nor cache is needed: vocabularies are small and pretrained vectors left out.

    Args:
        config_dir: Folder with FuxiCTR's model and dataset configs.
        expid: The experiment id.

    Raises:
        UserError: If the config is not as it must be.
    """
    params = {**load_experiment(config_dir, expid), "gpu": -1, "precision": FP32}
    with torch.random.fork_rng():
        torch.manual_seed(params["seed"])
        model = build_model(params, synthetic_feature_map(params))
    batch = synthetic_batch(model.feature_map, params["label_col"])
    return ExperimentAudit(expid, params["model"], gradient_flow(model, batch), audit(model, batch))
