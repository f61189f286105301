"""A tuner from its file to its best setting."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_stem.errors import ConfigError, TrainingError, raise_all, short
from fuxictr_stem.run_data import check_device, open_data
from fuxictr_stem.runtime import outputs
from fuxictr_stem.runtime.locks import locked
from fuxictr_stem.runtime.text_table import text_table
from fuxictr_stem.runtime.versions import versions
from fuxictr_stem.training.trackers.adapters import make_trackers
from fuxictr_stem.tuning.execute import execute
from fuxictr_stem.tuning.run_spec import run_digest
from fuxictr_stem.tuning.space import TPE
from fuxictr_stem.tuning.trial import DONE, FAILED, PRUNED, Trial
from fuxictr_stem.tuning.tuner_file import BEST, Tuner, load_tuner
from fuxictr_stem.tuning.tuner_runs import TunerRuns

logger = logging.getLogger(__name__)

_MOST_ROWS = 20


@dataclass(frozen=True)
class FinishedTuner:
    """What a tuner has done."""

    tuner: Tuner
    trials: list[Trial]  # that have ended, in order
    total: int
    best: Trial
    best_expid: str
    front: list[
        Trial
    ]  # no other is better in all objectives; the best one where there is one objective

    def table(self) -> str:
        """Return the best trials, the best first, as a table."""
        names = list(self.tuner.modes)
        rows = [["trial", "settings", "state", "monitor", *names]]
        for trial in self.ranked()[:_MOST_ROWS]:
            settings = ", ".join(f"{name} {value}" for name, value in self.varied(trial).items())
            state = trial.state + (", front" if trial in self.front and names else "")
            figures = [trial.value, *(trial.objectives.get(name, float("nan")) for name in names)]
            rows.append([trial.name, settings, state, *(f"{figure:.6f}" for figure in figures)])
        return text_table(rows, left=3)

    def summary(self) -> list[str]:
        """Return lines on what was done, which trial is the best, and how to run it."""
        count = dict.fromkeys((DONE, PRUNED, FAILED), 0)
        for trial in self.trials:
            count[trial.state] += 1
        states = ", ".join(f"{number} {state}" for state, number in count.items() if number)
        words = ["python", "run_expid.py", "--config", str(self.tuner.folder)]
        return [
            f"{len(self.trials)} of {self.total} trials: {states}",
            f"Best: {self.best.name}, also as the experiment id {self.best_expid}:",
            f"  {shlex.join([*words, '--expid', self.best_expid])}",
        ]

    def varied(self, trial: Trial) -> dict[str, Any]:
        """Return a trial's settings that are not the same in all trials."""
        return {
            name: value
            for name, value in trial.settings.items()
            if any(other.settings[name] != value for other in self.trials)
        }

    def ranked(self) -> list[Trial]:
        """Return the trials, the best first, those without a result last."""
        sign = -1 if self.tuner.params["monitor_mode"] == "max" else 1

        def rank(trial: Trial) -> tuple[int, float]:
            return (DONE, PRUNED, FAILED).index(trial.state), sign * trial.value

        return sorted(self.trials, key=rank)


def run_tuner(path: Path, tag: str | None = None, gpus: Sequence[int] = (-1,)) -> FinishedTuner:
    """Make the trials of a tuner file that are still to be made, and write the best as an experiment id.

    Args:
        path: The file; all that is written goes into the folder of its name, results where
            ``model_root`` says and ``<folder>.csv`` here, as with FuxiCTR.
        tag: Only trials with this text in their id are made.
        gpus: A CUDA device, or -1 for the CPU, for each of the trials that run at a time.

    Raises:
        UserError: If the file, a config, the data or a device has a problem, another tuner writes into
            the folder, or no trial succeeded.
    """
    for gpu in dict.fromkeys(gpus):
        check_device(gpu)
    tuner = load_tuner(path)
    if tag and tuner.search.sampler == TPE:
        raise ConfigError(f"--tag {tag}: trials of sampler: tpe have no id yet. Leave it out.")
    make_trackers(tuner.params["tracker"])
    outputs.check_writable(tuner.folder, "--config")
    locks = tuner.params["file_locks"]
    with locked(tuner.folder / ".lock", "--config", "another tuner", locks, waits=False):
        outputs.remove_temporaries(tuner.folder)
        return _run(tuner, tag or "", gpus)


def _run(tuner: Tuner, tag: str, gpus: Sequence[int]) -> FinishedTuner:
    # Faulty data must end here with one message, not once per run.
    cache = open_data(dict(tuner.params))
    software, search = versions(), tuner.search
    outputs.check_appendable(Path(f"{tuner.folder.resolve().name}.csv"))
    decisive = run_digest(
        {
            key: value
            for key, value in tuner.params.items()
            if key not in ("model_id", "dataset_id")
        },
        cache.folder.name,
        software,
        *(search.digest(), tuner.modes),
    )
    modes = list(tuner.modes.values()) or [tuner.params["monitor_mode"]]
    journal = tuner.folder / "study.journal"
    sampler = search.make_sampler(tuner.own(), modes, journal, f"{tuner.base_expid}-{decisive}")
    runs = TunerRuns(tuner, sampler, tag, len(gpus), software)
    if not runs.total():
        ids = [variant.expid for variant in runs.variants]
        raise ConfigError(f"--tag {tag}: no trial has it in its id. There are: {short(ids)}.")
    logger.info("%d trials, %d at a time; folder %s", runs.total(), len(gpus), tuner.folder)
    outcomes = execute(runs, gpus)
    trials = runs.trials(outcomes)
    done = [trial for trial in trials if trial.state == DONE]
    if not done:
        reasons = [f"{trial.name}: {trial.reason}" for trial in trials] or [
            "budget_minutes is over."
        ]
        raise_all(TrainingError, "No trial succeeded", reasons)
    sign = 1 if tuner.params["monitor_mode"] == "max" else -1
    best = max(done, key=lambda trial: sign * trial.value)
    variant = tuner.variant(best.settings, BEST)
    runs.write_configs(variant)
    return FinishedTuner(
        tuner, trials, runs.total(), best, variant.expid, _front(done, tuner.modes) or [best]
    )


def _front(trials: Sequence[Trial], modes: dict[str, str]) -> list[Trial]:
    """Return the Pareto front: trials than which no other is better in one objective and worse in none."""
    points = {
        trial.number: [v if modes[n] == "max" else -v for n, v in trial.objectives.items()]
        for trial in trials
        if modes
    }

    def is_dominated(point: list[float]) -> bool:
        return any(
            other != point and all(a >= b for a, b in zip(other, point, strict=True))
            for other in points.values()
        )

    return [t for t in trials if t.number in points and not is_dominated(points[t.number])]
