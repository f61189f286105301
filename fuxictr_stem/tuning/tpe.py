"""TPE by optuna: tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011), in a journal file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from fuxictr_stem.runtime.outputs import remove_file
from fuxictr_stem.tuning.space import Choices, Range, Search
from fuxictr_stem.tuning.trials import FAILED, PRUNED, Trial

_NUMBER, _SETTINGS, _NAME = "number", "settings", "expid"


class TpeSampler:
    """Trials chosen by optuna, each kept in the journal as soon as it is.

    A trial that was running when the search was killed is taken up again with its settings, and so is one
    that failed in an earlier start. The arguments are those of `make_sampler`.
    """

    def __init__(
        self,
        search: Search,
        base_settings: Mapping[str, Any],
        modes: Sequence[str],
        journal: Path,
        name: str,
    ) -> None:
        self.total, self._space = search.total, search.space
        self._base_settings = dict(base_settings)
        self._distributions = {key: _distribution(values) for key, values in self._space.items()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        _recover(journal)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name=name,
            directions=["maximize" if mode == "max" else "minimize" for mode in modes],
            load_if_exists=True,
        )
        for trial in self._study.get_trials(deepcopy=False):
            # The search was killed while this one was being chosen.
            if _NUMBER not in trial.user_attrs and not trial.state.is_finished():
                self._study.tell(trial.number, state=TrialState.FAIL)
        before = self._study.get_trials(deepcopy=False)
        # A sampler restarts its random numbers, and would draw the first trials again.
        self._study.sampler = optuna.samplers.TPESampler(
            seed=search.seed + len(before), constant_liar=len(modes) == 1
        )
        self._trials: dict[int, FrozenTrial] = {
            trial.user_attrs[_NUMBER]: trial for trial in before if _NUMBER in trial.user_attrs
        }
        self._failed_before = {n for n, t in self._trials.items() if t.state == TrialState.FAIL}

    def num_chosen(self) -> int:
        """Return how many trials have been chosen."""
        return len(self._trials)

    def settings(self, number: int) -> dict[str, Any]:
        """Return a trial's settings, which are chosen now if it is the next one."""
        trial = self._trials.get(number)
        if trial is None or number in self._failed_before:
            self._failed_before.discard(number)
            trial = self._trials[number] = self._choose(number, trial)
        return dict(json.loads(trial.user_attrs[_SETTINGS]))

    def _choose(self, number: int, failed: FrozenTrial | None) -> FrozenTrial:
        params: dict[str, Any] | None = None
        settings: dict[str, Any] = {}
        if failed is not None:
            params, settings = failed.params, json.loads(failed.user_attrs[_SETTINGS])
        elif number == 0:
            # What is outside of the space is tried, but nothing is learnt from it.
            params, settings = self._inside(self._base_settings), self._base_settings
        if params is not None:
            distributions = {name: self._distributions[name] for name in params}
            attributes = {_SETTINGS: json.dumps(settings), _NUMBER: number}
            self._study.add_trial(
                optuna.create_trial(
                    state=TrialState.RUNNING,
                    params=params,
                    distributions=distributions,
                    user_attrs=attributes,
                )
            )
            return self._frozen(-1)
        trial = self._study.ask(self._distributions)
        settings = {name: _value(self._space[name], drawn) for name, drawn in trial.params.items()}
        trial.set_user_attr(_SETTINGS, json.dumps(settings))
        # Last: a trial without it was not complete when the search was killed.
        trial.set_user_attr(_NUMBER, number)
        return self._frozen(trial.number)

    def _inside(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        params = {}
        for name, value in settings.items():
            values = self._space[name]
            if isinstance(values, Choices) and value in values.values:
                params[name] = _word(value)
            elif isinstance(values, Range) and values.holds(value):
                params[name] = value
        return params

    def tell(self, trial: Trial) -> None:
        """Learn what became of a trial: its objectives, or where it was stopped."""
        number = self._trials[trial.number].number
        if self._frozen(number).state.is_finished():
            return
        live = optuna.trial.Trial(self._study, self._frozen(number)._trial_id)
        live.set_user_attr(_NAME, trial.name)
        if len(self._study.directions) == 1:
            for step, value in enumerate(trial.evaluations):
                live.report(value, step)
        if trial.state in (FAILED, PRUNED):
            state = TrialState.FAIL if trial.state == FAILED else TrialState.PRUNED
            self._study.tell(number, state=state)
        else:
            self._study.tell(number, list(trial.objectives.values()))

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]


def _distribution(values: Choices | Range) -> BaseDistribution:
    if isinstance(values, Choices):
        return CategoricalDistribution([_word(value) for value in values.values])
    kind = IntDistribution if values.is_whole else FloatDistribution
    return kind(values.low, values.high, log=values.log)  # type: ignore[arg-type]


def _word(value: Any) -> Any:
    """Return a value as optuna keeps one: lists as text."""
    return json.dumps(value) if isinstance(value, list) else value


def _value(values: Choices | Range, drawn: Any) -> Any:
    if isinstance(values, Range):
        return values.tidy(drawn)
    return next(value for value in values.values if _word(value) == drawn)


def _recover(journal: Path) -> None:
    """Remove what a killed search has left: half a line, which optuna would not read past, and its lock."""
    remove_file(Path(f"{journal}.lock"))
    if journal.exists():
        with journal.open("rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)
                os.fsync(file.fileno())
