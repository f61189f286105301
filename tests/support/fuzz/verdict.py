"""What becomes of an input: a cache that is right row by row and id by id, or one message.

Everything else is silent: rows, labels or ids that are not the oracle's, a warning that is missing, a
message without file or column, an error of another kind.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import resource
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuxictr_stem.config.dataset_config import load_dataset
from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.checks.unknown_ids import report_ids
from fuxictr_stem.errors import ConfigError, DataError, UserError
from tests.support.fuzz import dimensions as fuzz_dimensions  # noqa: F401  registers its dimensions
from tests.support.fuzz import places as fuzz_places  # noqa: F401  registers its dimensions
from tests.support.fuzz.outcome import Endless, time_limit
from tests.support.fuzz.readings import SPLITS, Input, make
from tests.support.fuzz.shrink import smallest
from tests.support.oracle.files import NoReading
from tests.support.oracle.rows_and_ids import Right, right_reading

RIGHT, REJECTED, COULD_BE_READ, SILENT = "right", "rejected", "could be read", "silent"
_SECONDS, _LOCKED_SECONDS = 60, 2
# What a warning about a topic holds in addition to the name that it must hold.
_TOPICS = {
    "fill": ("fill_na",),
    "unknown": ("unknown", "vocabulary", "not in train"),
    "float32": ("float32",),
    "beside": ("",),
}


@dataclass(frozen=True)
class Verdict:
    """What became of an input.

    Attributes:
        kind: `RIGHT`; `REJECTED`, and rightly; `COULD_BE_READ`: rejected though the oracle has a reading;
            or `SILENT`.
        detail: What is wrong, or the message.
        doubted: Whether a rejection would have been right, too.
    """

    kind: str
    detail: str = ""
    doubted: bool = False


@dataclass
class Readings:
    """Verdicts of many inputs.

    Attributes:
        kinds: How many there are of each kind.
        dimensions: The same by dimension.
        rejections: Rejections of what could be read, by their messages.
        cells: Cells compared.
        silent: The smallest input found of each silent fault.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    dimensions: dict[str, Counter[str]] = field(default_factory=dict)
    rejections: Counter[str] = field(default_factory=Counter)
    silent: dict[str, str] = field(default_factory=dict)


def explore_readings(count: int, start: int = 0, shrink: bool = True) -> Readings:
    """Try inputs of consecutive seeds.

    Args:
        count: How many.
        start: The first seed.
        shrink: Look for a smaller input of each silent fault.
    """
    found = Readings()
    for seed in range(start, start + count):
        example = make(seed)
        verdict = judge(example)
        found.kinds[verdict.kind] += 1
        for done in example.done or ("nothing odd",):
            name = done.partition(":")[0]
            found.dimensions.setdefault(name, Counter())[verdict.kind] += 1
        if verdict.kind == COULD_BE_READ and not verdict.doubted:
            found.rejections[_line(verdict.detail)] += 1
        if verdict.kind == SILENT:
            fault = (
                f"{'; '.join(d.partition(':')[0] for d in example.done)}: {_line(verdict.detail)}"
            )
            if fault not in found.silent:
                best = smallest(example, judge) if shrink else example
                found.silent[fault] = f"{verdict.detail}\n{best}"
    return found


def _line(text: str) -> str:
    """Return the telling line of a message."""
    lines = text.splitlines()
    return next((line for line in lines[1:] if line.startswith("- ")), lines[0])[:160]


def judge(example: Input) -> Verdict:
    """Read an input in a folder of its own and compare it with the oracle."""
    with tempfile.TemporaryDirectory() as name:
        try:
            with time_limit(_SECONDS):
                return _judge(example, Path(name))
        except Endless as error:
            return Verdict(SILENT, str(error))


def _judge(example: Input, folder: Path) -> Verdict:
    config = example.write(folder)
    try:
        dataset = load_dataset(config, "small")
    except ConfigError as error:
        return Verdict(COULD_BE_READ, str(error).replace(f"{folder}/", ""), doubted=True)
    right: Right | NoReading
    try:
        right = right_reading(dataset)
    except NoReading as error:
        right = error
    with _log() as told:
        try:
            cache = open_cache(dataset)
            report_ids(cache, {})
        except UserError as error:
            return _rejected(example, error, right, folder)
        except Exception as error:  # noqa: BLE001  a traceback is what must not be
            return Verdict(SILENT, f"{type(error).__name__}: {error}")
    if isinstance(right, NoReading):
        return Verdict(SILENT, f"read, although: {right}")
    doubted = bool(right.doubts)
    arrays = {split: _stored(cache.path(split)) for split in right.rows}
    wrong = difference(right, arrays, cache.rows) or _not_told(right, told)
    if not wrong and not example.done:
        idle = [text for text in told if not any(_names(text, n) for n in right.warnable)]
        wrong = f"a warning about nothing: {idle[0]}" if idle else ""
    if not wrong and example.lock:
        home = cache.folder
        # As long as it lives it holds the folder itself.
        del cache
        wrong = _under_lock(example.lock, dataset, home)
    return Verdict(SILENT, wrong, doubted) if wrong else Verdict(RIGHT, "", doubted)


def _rejected(example: Input, error: UserError, right: Right | NoReading, folder: Path) -> Verdict:
    text = str(error).replace(f"{folder}/", "")
    if not isinstance(error, (DataError, ConfigError)):
        return Verdict(SILENT, f"{type(error).__name__}: {text}")
    if "Traceback" in text or not text.strip() or len(text) > 20_000:
        return Verdict(SILENT, f"no message: {text[:200]}")
    if isinstance(right, NoReading):
        named = [_names(text, name) for name in right.names]
        # It may be about another fault of the input, or count rows in place of columns.
        told = re.search(r"\b(row|line)s? ", text) if any(named) else _tells_where(text, example)
        if not all(named) and not told:
            lacking = [name for name, there in zip(right.names, named, strict=True) if not there]
            return Verdict(SILENT, f"{right}: the message does not name {lacking}: {text}")
        return Verdict(REJECTED, text)
    if not _tells_where(text, example):
        return Verdict(SILENT, f"the message does not say where: {text}")
    return Verdict(COULD_BE_READ, text, bool(right.doubts))


def _names(text: str, name: str) -> bool:
    """Whether a message holds a name as a word of its own."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _tells_where(text: str, example: Input) -> bool:
    """Whether a message names a file or path of the config, and a place or a column if there is one."""
    paths = [*example.files, *(example.dataset[f"{split}_data"] for split in SPLITS)]
    columns = [*example.dataset["feature_cols"], *example.dataset["label_col"]]
    return any(path in text for path in paths) or any(f"'{c['name']}'" in text for c in columns)


def _stored(path: Path | None) -> dict[str, Any]:
    assert path is not None
    with h5py.File(path, "r") as file:
        return {name: file[name][:] for name in file}


def difference(right: Right, arrays: dict[str, dict[str, Any]], rows: dict[str, int]) -> str:
    """Return the first difference to what is right, or ""."""
    if rows != right.rows:
        return f"rows {rows}, right {right.rows}"
    for split, columns in right.arrays.items():
        if set(columns) != set(arrays[split]):
            return f"columns {sorted(arrays[split])}, right {sorted(columns)}"
        for name, values in columns.items():
            stored = arrays[split][name]
            if stored.shape != values.shape:
                return f"{name} of {split} has shape {stored.shape}, right {values.shape}"
            if stored.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    wanted = values.astype(np.float32)
                same = np.isclose(stored, wanted, rtol=1e-5, atol=1e-6, equal_nan=True)
            else:
                same = stored.astype(np.int64) == values
            if not same.all():
                row = int(np.argmin(same.reshape(len(same), -1).all(axis=1)))
                return f"{name} of {split}, row {row + 1}: {stored[row]}, right {values[row]}"
    return ""


def _not_told(right: Right, told: list[str]) -> str:
    for topic, name in sorted(right.warned):
        if not any(_names(t, name) and any(w in t for w in _TOPICS[topic]) for t in told):
            return f"no warning of {topic} that names {name!r}"
    return ""


@contextmanager
def _log(level: int = logging.WARNING) -> Iterator[list[str]]:
    """Collect what the log says, whatever else is set up for it."""
    told: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logger = logging.getLogger()
    before = logger.handlers[:], logger.level, logger.manager.disable
    logger.handlers, logger.level, logger.manager.disable = [Keep(level)], level, logging.NOTSET
    try:
        yield told
    finally:
        logger.handlers, logger.level, logger.manager.disable = before


def _under_lock(lock: str, dataset: dict[str, Any], folder: Path) -> str:
    """Open the cache again while something holds its files; return what is wrong with the outcome."""
    before = _state(folder)
    outcome = ""
    with _log(logging.INFO) as told, _held(lock, folder):
        try:
            with time_limit(_LOCKED_SECONDS):
                open_cache(dataset)
        except Endless:
            if not any("Waiting" in text and lock in text for text in told):
                outcome = f"{lock}: it waits and does not say for what"
        except UserError as error:
            text = str(error)
            if str(folder.parent) not in text:
                outcome = f"{lock}: the message names no file: {text}"
        except Exception as error:  # noqa: BLE001  a traceback is what must not be
            outcome = f"{lock}: {type(error).__name__}: {error}"
    if outcome:
        return outcome
    if _state(folder) != before:
        return f"{lock}: the cache was replaced, and the log says {told}"
    if any("damage" in text for text in told):
        return f"{lock}: called damage: {told}"
    return ""


def _state(folder: Path) -> list[tuple[str, int, str]]:
    return [
        (p.name, p.stat().st_ino, hashlib.sha256(p.read_bytes()).hexdigest())
        for p in sorted(folder.iterdir())
        if p.is_file()
    ]


@contextmanager
def _held(lock: str, folder: Path) -> Iterator[None]:
    """Lock a file of the cache as another process would, or leave this one few files to open."""
    if lock == "too many files":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(used + 2, soft), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return
    if lock == "read only folder":
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    shared, name = lock.startswith("shared "), lock.removeprefix("shared ")
    with (folder / name).open("rb") as file:
        # A lock of this kind belongs to the open file, not to the process.
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
