"""From the runs that are done to what tables and pictures are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fuxictr_stem.benchmark.run.benchmark_config import SINGLE_TASK, Benchmark
from fuxictr_stem.benchmark.run.execute import Outcomes, Workspace
from fuxictr_stem.benchmark.run.plan import Plan, RunSpec, monitored
from fuxictr_stem.benchmark.score.study import Entry, Run, Study


def collect(plan: Plan, workspace: Workspace, runs: Outcomes, facts: Mapping[str, Any]) -> Study:
    """Return the study of a plan's runs; a model and seed of which a run failed is left out.

    Args:
        plan: The runs that were to be made.
        workspace: Where they are.
        runs: What became of them.
        facts: Versions, machine, command and the like.
    """
    benchmark = plan.benchmark
    entries: dict[str, dict[int, Entry]] = {}
    for name, expids in _rows(benchmark).items():
        for seed in benchmark.seeds:
            found = [_run_of(plan, workspace, runs, expid, seed) for expid in expids]
            whole = [run for run in found if run is not None]
            if len(whole) == len(expids):
                entries.setdefault(name, {})[seed] = Entry(name, seed, whole)
    reasons = {
        str(spec): runs.failed[spec.key] for spec in _specs(plan, runs) if spec.key in runs.failed
    }
    return Study(
        name=benchmark.name,
        dataset_id=benchmark.dataset_id,
        labels=benchmark.labels,
        metrics=benchmark.metrics,
        seeds=benchmark.seeds,
        entries=entries,
        single_task=SINGLE_TASK if SINGLE_TASK in entries else None,
        proposed=[benchmark.row(expid) for expid in benchmark.proposed],
        trials={e: _trials(plan, runs, e) for e in benchmark.experiments},
        failures=reasons,
        facts=dict(facts),
    )


def _rows(benchmark: Benchmark) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for expid in benchmark.experiments:
        rows.setdefault(benchmark.row(expid), []).append(expid)
    return rows


def _run_of(plan: Plan, workspace: Workspace, runs: Outcomes, expid: str, seed: int) -> Run | None:
    """Return an experiment's run with the best trial's settings and a seed, if it is done."""
    best = plan.chosen(expid, runs.done)
    if best is None:
        return None
    spec = plan.spec(expid, seed, best.trial)
    if spec.key not in runs.done:
        return None
    return Run(
        expid=expid,
        seed=seed,
        settings={**plan.benchmark.settings[expid], **spec.trial},
        labels=plan.benchmark.experiments[expid]["task_labels"],
        result=runs.done[spec.key],
        folder=workspace.results(spec),
    )


def _specs(plan: Plan, runs: Outcomes) -> list[RunSpec]:
    """Return all runs of a plan, as far as the searches have decided them."""
    specs = []
    for expid in plan.benchmark.experiments:
        specs += plan.trials(expid)
        best = plan.chosen(expid, runs.done)
        if best is not None:
            specs += [plan.spec(expid, seed, best.trial) for seed in plan.benchmark.seeds[1:]]
    return specs


def _trials(plan: Plan, runs: Outcomes, expid: str) -> list[dict[str, Any]]:
    """Return the record of an experiment's search."""
    params = plan.benchmark.experiments[expid]
    best = plan.chosen(expid, runs.done)
    record = []
    for spec in plan.trials(expid):
        result = runs.done.get(spec.key)
        record.append(
            {
                "settings": spec.trial,
                "monitor": params["monitor"],
                "value": monitored(params["monitor"], result["valid"]) if result else None,
                "epochs": result["epochs"] if result else None,
                "chosen": best is not None and spec.key == best.key,
            }
        )
    return record
