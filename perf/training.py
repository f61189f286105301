"""Training: ours against plain, over the size of the tables; loss traces, product floor, memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from fuxictr_stem.analysis.gate_weights import gate_places
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.runtime.memory import keep_freed_memory
from fuxictr_stem.training.trackers.adapters import make_trackers
from fuxictr_stem.training.trackers.tracker import TrackedRun
from fuxictr_stem.training.trackers.tracking import Tracking
from fuxictr_stem.training.trainer import Trainer
from perf.common import Side, alternate, peak_memory, ratio, timed
from perf.data import draw, label_names, vocabulary_sizes, write_h5
from perf.records import Record
from perf.sides import Products, Training, our_model
from perf.sizes import SMALL_NETWORK, Setting, Sizes

# By the place in `Sizes.table_rows`: exact, row-sparse.
_SPEED_UP = ((1.6, 1.6), (2.0, 2.3), (2.7, 3.7))
_AUC_BATCHES = 20
_TRACE_BATCH = 512
_GIB = 2**30
_ROUNDING = 1e-4

Rounds = Mapping[str, Sequence[tuple[float, list[float]]]]


def rows_text(rows: int) -> str:
    """Return a number of rows as in ``0.2M``."""
    return f"{rows / 1e6:g}M"


def _seconds(rounds: Sequence[tuple[float, list[float]]]) -> list[float]:
    """Return the rounds' seconds without the first, which warms up."""
    return [seconds for seconds, _ in rounds[1:]]


def _trace_difference(rounds: Rounds, first: str, second: str) -> tuple[int, float]:
    """Return the steps and the largest relative difference of the losses of two sides."""
    losses, other_losses = (
        [loss for _, part in rounds[name] for loss in part] for name in (first, second)
    )
    pairs = zip(losses, other_losses, strict=True)
    return len(losses), max(abs(a - b) / abs(a) for a, b in pairs)


def compare(sizes: Sizes, place: int) -> Iterator[Record]:
    """Measure training at one size of the tables; at the smallest with the floor."""
    setting = sizes.setting(sizes.table_rows[place])
    smallest = place == 0
    at = f"{rows_text(setting.table_rows)} table rows"
    with ExitStack() as stack:
        sides = {
            "plain": stack.enter_context(Side(Training, setting, "plain", False)),
            "exact": stack.enter_context(Side(Training, setting, "exact", True)),
            "row_sparse": stack.enter_context(Side(Training, setting, "row_sparse", True)),
            "plain_kept": stack.enter_context(Side(Training, setting, "plain", True)),
        }
        if smallest:
            sides["floor"] = stack.enter_context(Side(Products, setting))
        rounds = alternate(sides, sizes.rounds, "steps", sizes.steps)
    seconds = {name: _seconds(results) for name, results in rounds.items()}
    names = {"exact": "exact", "row_sparse": "row-sparse"}
    for target, (name, text) in zip(_SPEED_UP[place], names.items(), strict=True):
        value = ratio(seconds["plain"], seconds[name])
        yield Record(f"training samples/s over plain, {text}, {at}", value, "x", f">= {target}")
    texts = {"plain": "plain", "plain_kept": "plain with our allocator settings", **names}
    for name, text in texts.items():
        speed = sizes.steps * setting.batch_size / median(seconds[name])
        yield Record(f"training, {text}, {at}", speed, "samples/s")
    if not smallest:
        return
    yield Record(
        f"the bare matrix products of a step, {at}", median(seconds["floor"]) / sizes.steps, "s"
    )
    for name, goal in (("exact", ">= 85"), ("row_sparse", None)):
        share = 100 / ratio(seconds[name], seconds["floor"])
        yield Record(f"share of the matrix-product floor, {names[name]}, {at}", share, "%", goal)


def exactness(sizes: Sizes) -> Iterator[Record]:
    """Compare the losses of the exact side with those of the plain one, and the AUC that follows.

    In float64, where rounding stays small. In float32 each step's rounding grows with the training, for
    the plain side, too: how far that goes, its run on batches whose rows are in reverse order shows.
    """
    setting = sizes.setting(sizes.table_rows[0], batch_size=min(_TRACE_BATCH, sizes.batch_size))
    at = f"batch {setting.batch_size}, {rows_text(setting.table_rows)} table rows"
    kinds = {"plain": ("plain", False), "backwards": ("plain", True), "exact": ("exact", False)}
    for double, text in ((True, "float64"), (False, "float32")):
        with ExitStack() as stack:
            sides = {
                name: stack.enter_context(
                    Side(Training, setting, kind, True, True, double, backwards)
                )
                for name, (kind, backwards) in kinds.items()
            }
            rounds = alternate(sides, sizes.trace_rounds, "steps", sizes.steps)
            aucs = {name: side.call("auc", _AUC_BATCHES) for name, side in sides.items()}
        steps, difference = _trace_difference(rounds, "plain", "exact")
        goal = f"<= {_ROUNDING}" if double else None
        what = f"largest relative difference of {steps} losses, exact and plain, {text}, {at}"
        yield Record(what, difference, "", goal)
        what = f"the same, plain and plain with the rows of each batch reversed, {text}, {at}"
        yield Record(what, _trace_difference(rounds, "plain", "backwards")[1], "")
        apart = max(abs(a - b) for a, b in zip(aucs["plain"], aucs["exact"], strict=True))
        what = f"largest difference of a task's AUC after them, exact and plain, {text}, {at}"
        yield Record(what, apart, "", goal)


def growth(sizes: Sizes) -> Iterator[Record]:
    """Measure a row-sparse step at very large tables against one at the smallest."""
    small, large = sizes.table_rows[0], sizes.large_table_rows
    with (
        Side(Training, sizes.setting(large), "row_sparse", True, False) as big,
        Side(Training, sizes.setting(small), "row_sparse", True, False) as little,
    ):
        rounds = alternate({"big": big, "little": little}, sizes.rounds, "steps", sizes.steps)
    value = ratio(_seconds(rounds["big"]), _seconds(rounds["little"]))
    what = f"step time at {rows_text(large)} over {rows_text(small)} table rows, row-sparse"
    yield Record(what, value, "x", "<= 1.15")


def repeat(sizes: Sizes) -> Iterator[Record]:
    """Compare the losses of two processes that train alike, bit for bit."""
    setting = sizes.setting(sizes.table_rows[0])
    for kind, text in (("exact", "exact"), ("row_sparse", "row-sparse")):
        with (
            Side(Training, setting, kind, True) as first,
            Side(Training, setting, kind, True) as second,
        ):
            rounds = alternate(
                {"first": first, "second": second}, sizes.repetitions, "steps", sizes.steps
            )
        losses = {
            name: [loss for _, part in results for loss in part] for name, results in rounds.items()
        }
        apart = sum(a != b for a, b in zip(losses["first"], losses["second"], strict=True))
        steps, at = len(losses["first"]), f"{rows_text(setting.table_rows)} table rows"
        what = f"losses that differ in any bit between two runs of one seed, {steps} steps, {text}, {at}"
        yield Record(what, apart, "", "<= 0")


class MemoryOfTraining:
    """One epoch under our trainer, data in memory, as the runner does it."""

    def __init__(self, setting: Setting, row_sparse: bool, rows: int, folder: Path) -> None:
        keep_freed_memory()
        folder.mkdir()
        self.setting, self.folder = setting, folder
        # Where the trainer keeps the best weights.
        network = {**setting.network, "model_root": str(folder)}
        self.model = our_model(replace(setting, network=network), row_sparse, same_weights=False)
        sizes, labels = vocabulary_sizes(setting.table_rows), label_names(setting.tasks)
        for split, count in (("train", rows), ("valid", max(rows // 10, 2))):
            write_h5(folder / f"{split}.h5", draw(sizes, labels, count, seed=count))
        self.row_bytes = 4 * (len(sizes) + len(labels))

    def run(self) -> float:
        """Train; return the peak memory over (4 x parameter bytes + data in memory), in GiB."""
        train, valid = (
            H5Loader(
                self.model.feature_map,
                self.folder / f"{split}.h5",
                split=split,
                batch_size=self.setting.batch_size,
                shuffle=split == "train",
            )
            for split in ("train", "valid")
        )
        tasks = dict.fromkeys(label_names(self.setting.tasks), "binary_classification")
        Trainer(self.model, tasks).fit(train, valid, epochs=1)
        parameters = sum(p.numel() * p.element_size() for p in self.model.parameters())
        data = (train.num_samples + valid.num_samples) * self.row_bytes
        return (peak_memory() - 4 * parameters - data) / _GIB


def memory(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure the peak memory of training with the largest compared tables."""
    setting = sizes.setting(sizes.table_rows[-1])
    for row_sparse, text in ((False, "exact"), (True, "row-sparse")):
        place = folder / f"memory_{text}"
        with Side(MemoryOfTraining, setting, row_sparse, sizes.memory_rows, place) as side:
            value: Any = side.call("run")
        at = f"{rows_text(setting.table_rows)} table rows"
        what = f"peak memory of training over (4 x parameter bytes + data), {text}, {at}"
        yield Record(what, value, "GiB", "<= 1.5")


class EpochOfTraining:
    """Epochs under our trainer, with a tracker or without, data in memory; each ends with an evaluation."""

    def __init__(self, setting: Setting, rows: int, folder: Path, tracker: str | None) -> None:
        keep_freed_memory()
        folder.mkdir()
        self.setting, self.folder = setting, folder
        self.tracker = tracker
        network = {**setting.network, "model_root": str(folder)}
        self.model = our_model(replace(setting, network=network), False, same_weights=False)
        sizes, labels = vocabulary_sizes(setting.table_rows), label_names(setting.tasks)
        for split, count in (("train", rows), ("valid", rows // 10)):
            write_h5(folder / f"{split}.h5", draw(sizes, labels, count, seed=count))
        self.train, self.valid = (
            H5Loader(
                self.model.feature_map,
                folder / f"{split}.h5",
                split=split,
                batch_size=setting.batch_size,
                shuffle=split == "train",
            )
            for split in ("train", "valid")
        )

    def run(self, steps_between: int) -> float:
        """Train an epoch; return the seconds of a step, all of the epoch counted."""
        tasks = dict.fromkeys(label_names(self.setting.tasks), "binary_classification")
        run = TrackedRun("epoch", "drawn", None, self.folder)
        with Tracking(make_trackers(self.tracker), run, steps_between) as tracking:
            tracking.gates = list(gate_places(self.model))
            trainer = Trainer(self.model, tasks, tracking=tracking)
            seconds, _ = timed(lambda: trainer.fit(self.train, self.valid, epochs=1))
        return seconds / len(self.train)


def tracking(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure steps of a small network, which take little, with a tracker and without one."""
    setting = sizes.setting(sizes.table_rows[0], network=SMALL_NETWORK)
    rows = sizes.tracked_steps * setting.batch_size
    with (
        Side(EpochOfTraining, setting, rows, folder / "tracked", "tensorboard") as tracked,
        Side(EpochOfTraining, setting, rows, folder / "plain", None) as plain,
    ):
        sides = {"tracked": tracked, "plain": plain}
        rounds = alternate(sides, 2 * sizes.rounds + 1, "run", 50)
    with_it, without = rounds["tracked"][1:], rounds["plain"][1:]
    what = f"with TensorBoard, {sizes.tracked_steps} steps of a small network and an evaluation"
    yield Record(f"a step {what}", median(with_it), "s")
    yield Record(f"a step over one without, {what}", ratio(with_it, without), "x", "<= 1.01")
