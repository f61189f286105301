"""Weights & Biases: a run of the project ``WANDB_PROJECT``, or files of it where ``WANDB_MODE=offline``."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuxictr_stem.training.trackers.tracker import Ending, Point, TrackedRun, Tracker

_PROJECT = "fuxictr_stem"
_SECONDS = 20


class WeightsAndBiases(Tracker):
    """A run with its files in ``<run folder>/wandb``."""

    name = "wandb"
    # Its process sends and writes every 15 s, and ends without that when ours is killed.
    settle_seconds = 60.0

    def prepare(self) -> str:
        """Import the client; without a key it would ask for one in the middle of the run."""
        import wandb

        offline = wandb.setup().settings.mode in ("offline", "dryrun", "disabled")
        if offline or wandb.login(prompt=False, verify=False):
            return ""
        return "there is no API key. Run wandb login, set WANDB_API_KEY, or set WANDB_MODE=offline."

    def start(self, run: TrackedRun, previous: str | None, next_step: int) -> str:
        """Begin a run, or continue with one."""
        import wandb

        self._on_disk = -1
        if previous is not None:
            files = sorted(run.folder.glob(f"wandb/offline-run-*-{previous}/*.wandb"))
            steps = (step for file in files for step, _ in history(file))
            self._on_disk = max(steps, default=-1)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            name=run.name,
            group=run.group,
            id=previous,
            resume=None if previous is None else "allow",
            config=run.params,
            dir=str(run.folder),
            settings=wandb.Settings(
                console="off", silent=True, init_timeout=_SECONDS, finish_timeout=_SECONDS
            ),
        )
        return str(self._run.id)

    def log(self, points: list[Point]) -> None:
        """Hand points to the process that sends them."""
        for step, _, figures in points:
            self._run.log(figures, step=step, commit=True)

    def last_step(self) -> int:
        """Return the step of the last point that is there, of the server or in files to be sent there."""
        return max(int(self._run.starting_step) - 1, self._on_disk)

    def end(self, ending: Ending) -> None:
        """Put the test metrics and the result into the run's summary, and wait for what is to be sent."""
        if ending.result is not None:
            self._run.summary.update({**ending.figures(), "result": dict(ending.result)})
        self._run.finish(exit_code=0 if ending.status == "FINISHED" else 1)


_HEADER, _BLOCK = 7, 2**15
_WHOLE, _LAST = 1, 4


def history(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield steps and figures (JSON) of a run's file: LevelDB's log format, of wandb's messages.

    It ends where a killed process has left half a record.
    """
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2

    make_record: Any = wandb_internal_pb2.Record.FromString  # type: ignore[attr-defined]
    content, place, parts = path.read_bytes(), _HEADER, b""
    while place + _HEADER <= len(content):
        room = _BLOCK - place % _BLOCK
        if room < _HEADER:
            place += room
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        place += _HEADER + length
        if not kind or place > len(content):
            return
        parts += content[place - length : place]
        if kind in (_WHOLE, _LAST):
            try:
                record = make_record(parts)
            except DecodeError:
                return
            parts = b""
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                figures = {item.key or "/".join(item.nested_key): item.value_json for item in items}
                yield record.history.step.num, figures
