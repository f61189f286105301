"""From raw values to scores: an exported run's Scorer against its eager model with the same encoder."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml

import fuxictr_stem
from fuxictr_stem.cli import main
from fuxictr_stem.serving import Scorer
from perf.common import ROOT, BenchmarkError, Side, alternate, ratio, timed
from perf.data import draw, label_names, vocabulary_sizes
from perf.records import Record
from perf.sizes import Sizes

_ROWS = (1, 64, 1024)
_TEST_ROWS = 4096
_CALLS = {1: 500, 64: 100, 1024: 20}
_EXPERIMENT = "scored"
# As many as KuaiRand's, about.
_FIELDS = 32
# By how much a side's scores may differ from the eager model's.
_TOLERANCES = {"ours": 1e-5, "int8": 0.02}
_NAMES = {"ours": "Scorer", "int8": "Scorer of a network in int8", "eager": "eager PyTorch"}


class Training:
    """A run on made-up rows, in a process and a folder of its own."""

    def __init__(
        self, folder: Path, network: Mapping[str, Any], rows: int, ids: int, fields: int = _FIELDS
    ) -> None:
        self._folder = folder
        columns, labels = vocabulary_sizes(ids, fields), label_names(2)
        folder.mkdir(parents=True)
        for seed, (split, count) in enumerate({"train": rows, "test": _TEST_ROWS}.items()):
            frame = pl.DataFrame(draw(columns, labels, count, seed))
            if split == "train":
                # Every id of the largest field, so that its vocabulary is known.
                largest = max(columns, key=lambda name: columns[name])
                every = np.resize(np.arange(1, columns[largest]), count)
                frame = frame.with_columns(pl.Series(largest, every))
            frame.cast(dict.fromkeys(columns, pl.String)).write_parquet(folder / f"{split}.parquet")
        dataset = {
            "data_root": "data",
            "data_format": "parquet",
            "train_data": "train.parquet",
            "valid_data": "test.parquet",
            "test_data": "test.parquet",
            "min_categr_count": 1,
            "feature_cols": [{"name": [*columns], "dtype": "str", "type": "categorical"}],
            "label_col": [{"name": label, "dtype": "float"} for label in labels],
        }
        model = {
            **network,
            "model": "STEMNet",
            "dataset_id": "made_up",
            "epochs": 1,
            "batch_size": 8192,
            "row_sparse": True,
            "metrics": ["AUC"],
        }
        for kind, content in (("model", {_EXPERIMENT: model}), ("dataset", {"made_up": dataset})):
            path = folder / "config" / f"{kind}_config.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(yaml.safe_dump(content), encoding="utf-8")

    def export(self) -> tuple[Path, Path, Path]:
        """Train and export; return the folders of the run, of the export and of one in int8."""
        os.chdir(self._folder)
        run = Path("checkpoints", "made_up", _EXPERIMENT).absolute()
        export = ["export", "--run", str(run), "--format", "onnx", "--out"]
        for command in (
            ["run", "--config", "config", "--expid", _EXPERIMENT],
            [*export, "export"],
            [*export, "int8", "--network", "int8"],
        ):
            if code := main(command):
                raise BenchmarkError(f"{' '.join(command)} ended with {code}")
        return run, self._folder / "export", self._folder / "int8"


class Eager:
    """The run's model in PyTorch."""

    def __init__(self, run: Path, rows: Path) -> None:
        self._run = fuxictr_stem.load(run)
        self._features = self._run.features
        self.frame = pl.read_parquet(rows)

    @torch.inference_mode()
    def score(self, rows: Any) -> dict[str, np.ndarray]:
        """Score a row as a dict, or a frame."""
        encoder = self._run.encoder
        arrays = (encoder.encode_row if isinstance(rows, dict) else encoder.encode)(
            rows, self._features
        )
        # PyTorch has no operations on the small unsigned integers that the encoder gives.
        batch = {name: torch.from_numpy(a.astype(np.int64)) for name, a in arrays.items()}
        scores = self._run.model(batch)
        return {label: scores[f"{label}_pred"].numpy().ravel() for label in self._run.tasks}

    def seconds(self, rows: int, calls: int) -> list[float]:
        """Return the seconds of each call with that many rows, other ones each time."""
        starts = itertools.islice(itertools.cycle(range(0, _TEST_ROWS - rows + 1, rows)), calls)
        parts: list[Any] = [self.frame[start : start + rows] for start in starts]
        if rows == 1:
            parts = [part.row(0, named=True) for part in parts]
        spent = []
        for part in parts:
            start_time = time.perf_counter()
            self.score(part)
            spent.append(time.perf_counter() - start_time)
        return spent


class Exported(Eager):
    """The export's Scorer."""

    def __init__(self, export: Path, rows: Path) -> None:
        scorer = Scorer(export)
        self.score = scorer.score  # type: ignore[method-assign]
        self.frame = pl.read_parquet(rows)


def compare(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure all sides, network by network."""
    for name, network in sizes.scorer_networks.items():
        place = folder / f"scorer {name}"
        with Side(Training, place, network, *sizes.scorer_rows) as side:
            run, export, in_int8 = side.call("export")
        rows = place / "test.parquet"
        with (
            Side(Eager, run, rows) as eager,
            Side(Exported, export, rows) as ours,
            Side(Exported, in_int8, rows) as int8,
        ):
            sides = {"eager": eager, "ours": ours, "int8": int8}
            _check_alike(sides, pl.read_parquet(rows))
            for count in _ROWS:
                at = f"{name} network, {_FIELDS} fields, {_rows(count)} per call"
                yield from _records(sides, sizes.repetitions, count, at)
        shutil.rmtree(place)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _check_alike(sides: Mapping[str, Side], rows: pl.DataFrame) -> None:
    for part in (rows, rows.row(0, named=True)):
        scores = {name: side.call("score", part) for name, side in sides.items()}
        for label, expected in scores["eager"].items():
            for name, tolerance in _TOLERANCES.items():
                off = float(np.abs(scores[name][label] - expected).max())
                if not off <= tolerance:
                    raise BenchmarkError(f"{_NAMES[name]}: scores of {label} differ by {off}")


def _records(sides: Mapping[str, Side], rounds: int, count: int, at: str) -> Iterator[Record]:
    # The first round warms up.
    seconds_of = alternate(sides, rounds + 1, "seconds", count, _CALLS[count])
    by_side = {name: seconds[1:] for name, seconds in seconds_of.items()}
    for name, about in _NAMES.items():
        for percent in (50, 99):
            value = 1e3 * float(np.percentile(by_side[name], percent))
            yield Record(f"{about}, p{percent}, {at}", value, "ms")
    medians = {name: [median(s) for s in seconds] for name, seconds in by_side.items()}
    target = {1: ">= 5", 1024: ">= 1"}.get(count)
    for name in ("ours", "int8"):
        value = ratio(medians["eager"], medians[name])
        yield Record(f"eager PyTorch over {_NAMES[name]}, p50, {at}", value, "x", target)


def ready(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure a new process, from its start to its first score, with vocabularies small and large."""
    code = "import sys; from fuxictr_stem.serving import Scorer; Scorer(sys.argv[1])"
    network = next(iter(sizes.scorer_networks.values()))
    for fields, ids, limit in ((_FIELDS, sizes.scorer_rows[1], 1), (1, sizes.scorer_tokens, 5)):
        place = folder / f"ready {ids}"
        rows = max(ids, sizes.scorer_rows[0])
        with Side(Training, place, network, rows, ids, fields) as side:
            _, export, _ = side.call("export")
        command = [sys.executable, "-c", code, str(export)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        seconds = [
            timed(lambda: subprocess.run(command, check=True, env=environment))[0]  # noqa: B023
            for _ in range(sizes.repetitions + 1)
        ]
        what = f"a process from its start to a Scorer, vocabularies of {ids:,} ids"
        yield Record(what, median(seconds[1:]), "s", f"<= {limit}")
        shutil.rmtree(place)
