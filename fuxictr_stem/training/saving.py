"""When a training saves its state (`snapshot`, into `state_folders`), and how it continues from there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from fuxictr.pytorch.models import MultiTaskModel
from safetensors import SafetensorError
from safetensors.torch import save_file, save_model

from fuxictr_stem.errors import DataError, OutputError, first_line
from fuxictr_stem.runtime.outputs import check_space
from fuxictr_stem.training import snapshot
from fuxictr_stem.training.ranks import Ranks
from fuxictr_stem.training.state_folders import TrainingStates

logger = logging.getLogger(__name__)


class Position(Protocol):
    """A loader that knows where it is, such as `H5Loader`."""

    def state_dict(self) -> dict[str, int]:
        """Return the position."""

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to a position."""


class Saving:
    """Saves the states of a run, ``kept`` of them, after so many steps or minutes, and finds the newest.

    ``settings`` are what the run's result depends on; ``check_settings`` raises a ConfigError where a
    state's differ, and is given both, and where the former are from. A state of other ``versions`` is a
    warning. ``start`` sets the weights of a run that starts from the beginning, and returns what there is
    to say of that; each state keeps it as ``init_from``. ``ranks`` are the processes that train together.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        check_settings: Callable[[Mapping[str, Any], Mapping[str, Any], str], None],
        versions: Mapping[str, str],
        steps: int | None = None,
        minutes: float | None = None,
        kept: int = 2,
        resume: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        self.states = TrainingStates(folder, kept)
        self.start: Callable[[MultiTaskModel], dict[str, Any]] | None = None
        self.started: dict[str, Any] | None = None
        self.settings = dict(settings)
        self.check_settings = check_settings
        self.versions = dict(versions)
        self.steps, self.minutes, self.resume = steps, minutes, resume
        self._ranks = ranks or Ranks()
        self._last = time.monotonic()
        self._older = False

    def begin(self, model: MultiTaskModel, train: Position) -> dict[str, Any] | None:
        """Put a model that is set up, and its batches, where the newest state was, or at the beginning.

        Returns the ``progress`` that `save` was given, or None at the beginning. It cannot continue from a
        state of other settings (ConfigError), of another model (DataError), or that cannot be read, and
        needs room on the disk for states and best weights (OutputError).
        """
        self._last = time.monotonic()
        newest = self._ranks.from_first(lambda: self._newest(model))
        if newest is None:
            self.started = self.start(model) if self.start is not None else None
            return None
        folder, content = Path(newest[0]), newest[1]
        try:
            self._read(model, folder, content)
        except (RuntimeError, ValueError, SafetensorError) as error:
            raise DataError(
                f"--resume: the state {folder} does not fit this model: {first_line(error)}. Run "
                "with the code that saved it, or without --resume to start from the beginning."
            ) from error
        self.started = content.get("init_from")
        train.load_state_dict(content["loader"])
        for name, version in content["versions"].items():
            if self.versions.get(name) != version:
                logger.warning(
                    "The state was saved with %s %s, and this is %s: the result may differ from "
                    "that of an uninterrupted run.",
                    *(name, version, self.versions.get(name)),
                )
        logger.info("--resume: continuing from %s", folder)
        return dict(content["progress"])

    def _newest(self, model: MultiTaskModel) -> list[Any] | None:
        """Return folder and content of the state to continue from, as JSON; None for the beginning."""
        try:
            state, any_there = self.states.newest() if self.resume else None, bool(self.states)
        except OSError as error:
            raise OutputError(
                f"The training states of this run cannot be read: {error}. Give them read permission, or "
                f"remove {self.states.folder}."
            ) from error
        if state is None:
            self._begin_anew(model, any_there)
            return None
        folder, content = state
        self.check_settings(content["settings"], self.settings, str(folder))
        return [str(folder), content]

    def _begin_anew(self, model: MultiTaskModel, any_there: bool) -> None:
        """Check that the states find room, and say what becomes of those that are there."""
        states = self.states
        needed = snapshot.size_bytes(model) * (states.kept + 1)
        what = f"{states.kept} training states and a fresh one need"
        advice = "choose another model_root, or keep fewer (states_kept)"
        check_space(states.folder, needed, what, advice)
        if self.resume and any_there:
            logger.warning("--resume: no saved state is intact; the run starts from the beginning.")
        elif self.resume:
            logger.info("--resume: no state is saved, so the run starts from the beginning.")
        elif any_there:
            self._older = True
            logger.warning(
                "A stopped run left its state in %s. This run starts from the beginning, and its "
                "first state replaces that one. To continue the old run, stop now and use --resume.",
                states.folder,
            )

    def due(self, step: int) -> bool:
        """Say whether a state is to be saved after a step."""
        return self.steps is not None and step % self.steps == 0 or self._by_clock()

    def _by_clock(self) -> bool:
        waited = time.monotonic() - self._last
        return self.minutes is not None and waited >= 60 * self.minutes

    def save(
        self,
        model: MultiTaskModel,
        train: Position,
        progress: Mapping[str, Any],
        finished: bool = False,
    ) -> bool:
        """Save a state between two steps and say whether that succeeded; warn where it did not.

        ``progress`` is what else the run needs, as JSON; once training is finished, only the best weights
        are.
        """
        start = time.monotonic()
        try:
            if self._older:
                self.states.clear()
                self._older = False
            self.states.write(
                lambda folder: {
                    "settings": self.settings,
                    "versions": self.versions,
                    "init_from": self.started,
                    "loader": train.state_dict(),
                    "progress": dict(progress),
                    **self._write(model, folder, finished),
                }
            )
        except (OSError, SafetensorError) as error:
            logger.warning("The state could not be saved in %s: %s", self.states.folder, error)
            return False
        finally:
            self._last = time.monotonic()
        logger.info("Saved the state in %.1f s: %s", self._last - start, self.states.folder)
        return True

    def _read(self, model: MultiTaskModel, folder: Path, content: dict[str, Any]) -> None:
        snapshot.put_best_back(model, folder, content)
        snapshot.read(model, folder, content)

    def _write(self, model: MultiTaskModel, folder: Path, finished: bool) -> dict[str, Any]:
        snapshot.copy_best(model, folder)
        if finished:
            return {}
        save_model(model, str(folder / snapshot.WEIGHTS))
        tensors, content = snapshot.state(model)
        save_file(tensors, str(folder / snapshot.TENSORS))
        return content
