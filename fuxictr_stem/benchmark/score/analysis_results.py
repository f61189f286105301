"""What the report shows of the inside of trained models and of comparable samples."""

from __future__ import annotations

from dataclasses import dataclass, field

from fuxictr_stem.analysis.gates import GateWeights
from fuxictr_stem.analysis.gradient_flow import GradientFlow
from fuxictr_stem.analysis.slice_metrics import SliceLift, SliceMetrics
from fuxictr_stem.analysis.table_similarity import TableComparison


@dataclass(frozen=True)
class Slices:
    """Test metrics by slice of comparable samples.

    Attributes:
        names: Names of the slices, S.
        definition: How the samples are told apart, a sentence or two.
        reference: The model that lifts are over, the single-task one.
        metrics: By model and task, what each seed reaches.
        lifts: By model and task, the lift in each metric.
    """

    names: list[str]
    definition: str
    reference: str
    metrics: dict[str, dict[str, list[SliceMetrics]]] = field(default_factory=dict)
    lifts: dict[str, dict[str, list[SliceLift]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Analysis:
    """A look inside the models of a benchmark, by model; models may be absent.

    Attributes:
        runs: The experiment and the seed of the run that was looked into.
        gates: Mean gate weights; their slices, if any, are those of ``slices``.
        flows: Which task's loss reaches which part.
        findings: What the audit of the gradient flow finds against the model's definition.
        tables: Embedding tables compared; all fields together come first.
        slices: Comparable samples, or None.
    """

    runs: dict[str, tuple[str, int]] = field(default_factory=dict)
    gates: dict[str, list[GateWeights]] = field(default_factory=dict)
    flows: dict[str, GradientFlow] = field(default_factory=dict)
    findings: dict[str, list[str]] = field(default_factory=dict)
    tables: dict[str, list[TableComparison]] = field(default_factory=dict)
    slices: Slices | None = None

    def run(self, model: str) -> str:
        """Return the name of the run that a model's pictures show."""
        expid, seed = self.runs[model]
        return f"run {expid}, seed {seed}"


def interval_of(lift: SliceLift) -> str:
    """Return what a lift's interval is over, as a part of a sentence."""
    users = "the slice's test users"
    over = f"{lift.seeds} seeds and {users}" if lift.seeds > 1 else f"{users} only"
    return f"{lift.confidence:.0%} interval over {over}"
