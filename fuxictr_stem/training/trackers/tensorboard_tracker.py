"""TensorBoard: event files in the run's folder, for ``tensorboard --logdir``."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from fuxictr_stem.training.trackers.tracker import Ending, Point, TrackedRun, Tracker

FOLDER = "tensorboard"


class TensorBoard(Tracker):
    """Writes ``<run folder>/tensorboard``; a run that starts from the beginning replaces it."""

    name = "tensorboard"

    def prepare(self) -> str:
        """Import TensorBoard."""
        import torch.utils.tensorboard  # noqa: F401

        return ""

    def start(self, run: TrackedRun, previous: str | None, next_step: int) -> str:
        """Write into a new file; readers leave out what older ones have from ``next_step`` on."""
        from torch.utils.tensorboard import SummaryWriter

        self._run, self._folder, self._goes_on = run, run.folder / FOLDER, previous is not None
        if self._goes_on:
            _wait_for_a_later_name(self._folder)
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
        purge_step = next_step if self._goes_on else None
        self._writer: Any = SummaryWriter(str(self._folder), purge_step=purge_step)
        if not self._goes_on:
            self._writer.add_text("settings", _block(run.params), 0)
        self._writer.flush()
        return FOLDER

    def log(self, points: list[Point]) -> None:
        """Write points, and have the system take them."""
        for step, seconds, figures in points:
            for name, value in figures.items():
                self._writer.add_scalar(name, value, step, seconds)
        self._writer.flush()

    def end(self, ending: Ending) -> None:
        """Write the result, unless it is there, with what compares runs by their settings."""
        if ending.result is not None and not (self._goes_on and self._has_result()):
            from torch.utils.tensorboard.summary import hparams

            figures = ending.figures()
            for name, value in figures.items():
                self._writer.add_scalar(name, value, ending.step)
            params = {
                name: value if isinstance(value, (bool, int, float)) else str(value)
                for name, value in self._run.params.items()
            }
            for summary in hparams(params, figures):
                self._writer.file_writer.add_summary(summary)
            self._writer.add_text("result", _block(ending.result), ending.step)
        self._writer.close()

    def _has_result(self) -> bool:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(self._folder), {"scalars": 1, "tensors": 1}).Reload()
        return any(tag.startswith("result/") for tag in events.Tags()["tensors"])


def _block(content: Any) -> str:
    """Return JSON as Markdown shows it."""
    return "```\n" + json.dumps(content, indent=2, default=str) + "\n```"


def _wait_for_a_later_name(folder: Path) -> None:
    """Wait until no file's name has this second: readers take files in the order of their names."""
    seconds = {path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")}
    while f"{int(time.time()):010d}" in seconds:
        time.sleep(0.05)
