"""A tuner from its file to its best setting."""

from __future__ import annotations

import logging
import math
import shlex
from collections import Counter
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
from fuxictr_stem.tuning.space import TPE
from fuxictr_stem.tuning.trials import STATES, Trial, Trials
from fuxictr_stem.tuning.tuner_file import BEST, Tuner, load_tuner
from fuxictr_stem.tuning.tuner_runs import TunerRuns

logger = logging.getLogger(__name__)

_MOST_ROWS = 20


@dataclass(frozen=True)
class FinishedTuner:
    """What a tuner has done."""

    tuner: Tuner
    trials: Trials  # that have ended
    total: int
    best: Trial
    best_expid: str
    # No other is better in all objectives; the best one where there is one objective.
    front: list[Trial]

    def table(self) -> str:
        """Return the best trials, the best first, as a table."""
        rows = [["trial", "settings", "state", "monitor", *self.tuner.modes]]
        for trial in self.trials.ranked()[:_MOST_ROWS]:
            settings = ", ".join(f"{name} {value}" for name, value in self.varied(trial).items())
            figures = [f"{figure:.6f}" for figure in self.figures(trial)]
            rows.append([trial.name, settings, self.state(trial), *figures])
        return text_table(rows, left=3)

    def summary(self) -> list[str]:
        """Return lines on what was done, which trial is the best, and how to run it."""
        count = Counter(trial.state for trial in self.trials.every)
        states = ", ".join(f"{count[state]} {state}" for state in STATES if count[state])
        words = ["python", "run_expid.py", "--config", str(self.tuner.folder)]
        return [
            f"{len(self.trials.every)} of {self.total} trials: {states}",
            f"Best: {self.best.name}, also as the experiment id {self.best_expid}:",
            f"  {shlex.join([*words, '--expid', self.best_expid])}",
        ]

    def state(self, trial: Trial) -> str:
        """Return a trial's state, and whether it is on the front of several objectives."""
        return trial.state + (", front" if trial in self.front and self.tuner.modes else "")

    def figures(self, trial: Trial) -> list[float]:
        """Return a trial's monitor and objectives; NaN where it has none."""
        return [trial.value, *(trial.objectives.get(name, math.nan) for name in self.tuner.modes)]

    def varied(self, trial: Trial) -> dict[str, Any]:
        """Return a trial's settings that are not the same in all trials."""
        return {name: trial.settings[name] for name in self.trials.varied}


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
    outputs.check_appendable(Path(f"{tuner.folder.resolve().name}.csv"))
    runs = TunerRuns(tuner, cache.folder.name, tag, len(gpus), versions())
    if not runs.total:
        ids = [variant.expid for variant in runs.variants]
        raise ConfigError(f"--tag {tag}: no trial has it in its id. There are: {short(ids)}.")
    logger.info("%d trials, %d at a time; folder %s", runs.total, len(gpus), tuner.folder)
    trials = runs.search.trials(execute(runs, gpus))
    if not trials.done:
        reasons = [f"{trial.name}: {trial.reason}" for trial in trials.every]
        raise_all(TrainingError, "No trial succeeded", reasons or ["budget_minutes is over."])
    best = trials.ranked()[0]
    variant = tuner.variant(best.settings, BEST)
    runs.write_configs(variant)
    front = _front(trials.done, tuner.modes) or [best]
    return FinishedTuner(tuner, trials, runs.total, best, variant.expid, front)


def _front(trials: Sequence[Trial], modes: dict[str, str]) -> list[Trial]:
    """Return the Pareto front: trials than which no other is better in one objective and worse in none."""
    points = [
        [value if modes[name] == "max" else -value for name, value in trial.objectives.items()]
        for trial in trials
        if modes
    ]

    def is_better(a: list[float], b: list[float]) -> bool:
        return a != b and all(x >= y for x, y in zip(a, b, strict=True))

    pairs = zip(trials, points, strict=False)
    return [t for t, point in pairs if not any(is_better(other, point) for other in points)]
