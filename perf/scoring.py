"""Scores of raw rows: ``predict`` from file to file, the forward pass alone, and FuxiCTR's ``predict``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import torch
import yaml
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.torch_utils import seed_everything

from fuxictr_stem import results
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.convert import load_reference_state_dict
from fuxictr_stem.data.cache.open_cache import FEATURE_MAP, open_cache
from fuxictr_stem.data.encoding.encoder_files import ENCODER_FOLDER, copy_encoder
from fuxictr_stem.registry import build_model
from fuxictr_stem.runtime.outputs import write_json
from fuxictr_stem.serving.run import load
from fuxictr_stem.training.evaluation import forward
from perf.common import BenchmarkError, Side, ratio, timed
from perf.data import FIELDS, dataset_config, write_csv
from perf.records import Record
from perf.sizes import Sizes
from tests.support.plain_models import PlainSTEM

_EXPID = "scored"
# Far more than float32's rounding of one model's two orders of summation.
_APART = 1e-4


class Ours:
    """A run's folder, and the rows that it scores.

    Args:
        folder: The run's.
        rows: Files of the same rows, by format.
    """

    def __init__(self, folder: Path, rows: dict[str, Path]) -> None:
        self.run, self.rows, self.out = load(folder), rows, folder / "scores.parquet"
        frame = pl.read_parquet(rows["parquet"])
        arrays = self.run.encoder.encode(frame, self.run.features)
        tensors = {name: torch.from_numpy(ids.astype(np.int32)) for name, ids in arrays.items()}
        size = self.run.params["batch_size"]
        self.batches = [
            {name: ids[start : start + size] for name, ids in tensors.items()}
            for start in range(0, frame.height, size)
        ]

    def predict(self, data_format: str) -> float:
        """Score a file into a file; return the seconds."""
        return timed(lambda: self.run.predict_to(self.out, self.rows[data_format]))[0]

    def forward(self) -> float:
        """Run the model over the rows, encoded in memory; return the seconds."""

        def work() -> None:
            with torch.no_grad():
                for batch in self.batches:
                    forward(self.run.model, batch)

        return timed(work)[0]

    def scores(self) -> dict[str, np.ndarray]:
        """Return the scores of the file that was written last."""
        return {
            name: column.to_numpy() for name, column in pl.read_parquet(self.out).to_dict().items()
        }


class FuxiCTRs:
    """The same model from FuxiCTR's blocks, and the same rows already encoded, in parquet."""

    def __init__(self, folder: Path, rows: Path) -> None:
        run = load(folder)
        encoded = folder / "encoded.parquet"
        columns = run.encoder.encode(pl.read_parquet(rows), run.features, run.tasks)
        pl.DataFrame(columns).write_parquet(encoded)
        seed_everything(run.params["seed"])
        self.model = PlainSTEM(run.feature_map, **run.params)
        self.model.model_to_device()
        self.loader, _ = RankDataLoader(
            run.feature_map,
            stage="train",
            train_data=str(encoded),
            batch_size=run.params["batch_size"],
            shuffle=False,
            data_format="parquet",
            num_workers=3,
        )
        self._scores: dict[str, list[float]] = {}

    def predict(self) -> float:
        """Score the rows; return the seconds."""

        def work() -> None:
            self._scores = self.model.predict(self.loader)

        return timed(work)[0]

    def scores(self) -> dict[str, np.ndarray]:
        """Return the scores of the last pass."""
        return {f"{label}_pred": np.array(values) for label, values in self._scores.items()}


def _make_run(sizes: Sizes, folder: Path, train: Path, valid: Path) -> Path:
    """Leave the folder of a run that was not trained: its weights are those of the plain model."""
    dataset = dataset_config(folder / "cache", train, valid)
    experiment = {
        "model": "STEMNet",
        "dataset_id": dataset.pop("dataset_id"),
        "batch_size": sizes.batch_size,
        "model_root": str(folder / "runs"),
        **sizes.network,
    }
    sections = {"model_config": {_EXPID: experiment}, "dataset_config": {"benchmark": dataset}}
    for name, content in sections.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    params = {**load_experiment(folder, _EXPID), "gpu": -1, "verbose": 0}
    cache = open_cache(params)
    feature_map = cache.feature_map(params)
    model = build_model(params, feature_map)
    seed_everything(params["seed"])
    load_reference_state_dict(model, PlainSTEM(feature_map, **params).state_dict())
    place = folder / "runs" / "benchmark" / _EXPID
    model.save_weights(str(place / results.WEIGHTS))
    copy_encoder(cache.folder, place / ENCODER_FOLDER)
    shutil.copyfile(cache.folder / FEATURE_MAP, place / FEATURE_MAP)
    results.write_run(place, params, {})
    names = {"dataset_id": params["dataset_id"], "valid": {}, "test": {}}
    write_json(place / results.RESULT, {**names, "stand_in": False, "settings": {}})
    return place


def compare(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure all three on the same rows."""
    rows, ids = sizes.scored_rows
    (folder / "scoring").mkdir(parents=True)
    train, valid = folder / "scoring_train.csv", folder / "scoring_valid.csv"
    write_csv(train, 2 * ids, ids)
    write_csv(valid, rows, ids, seed=1)
    place = _make_run(sizes, folder / "scoring", train, valid)
    files = {"csv": valid, "parquet": folder / "scoring_valid.parquet"}
    types = dict.fromkeys(FIELDS, pl.String)
    pl.read_csv(valid, schema_overrides=types).write_parquet(files["parquet"])
    seconds: dict[str, list[float]] = {}
    with ExitStack() as stack:
        ours = stack.enter_context(Side(Ours, place, files))
        plain = stack.enter_context(Side(FuxiCTRs, place, files["parquet"]))
        ours.wait()
        plain.wait()
        # The first round warms up.
        for _ in range(sizes.repetitions + 1):
            for name, side, method, *arguments in (
                ("fuxictrs", plain, "predict"),
                ("csv", ours, "predict", "csv"),
                ("parquet", ours, "predict", "parquet"),
                ("forward", ours, "forward"),
            ):
                seconds.setdefault(name, []).append(side.call(method, *arguments))
        _check(ours.call("scores"), plain.call("scores"))
    seconds = {name: values[1:] for name, values in seconds.items()}
    at = f"{rows:,} rows, {sizes.batch_size:,} per batch"
    for data_format in ("parquet", "csv"):
        share = ratio(seconds["forward"], seconds[data_format])
        yield Record(
            f"predict rows/s over the forward pass alone, {data_format}, {at}",
            share,
            "x",
            ">= 0.85",
        )
    value = ratio(seconds["fuxictrs"], seconds["parquet"])
    yield Record(f"predict rows/s over FuxiCTR's, whose rows are encoded, {at}", value, "x", ">= 1")
    texts = {
        "parquet": "predict from raw parquet",
        "csv": "predict from raw csv",
        "forward": "the forward pass alone",
        "fuxictrs": "FuxiCTR's predict on encoded rows",
    }
    for name, text in texts.items():
        yield Record(f"{text}, {at}", rows / median(seconds[name]), "rows/s")


def _check(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    for name, scores in theirs.items():
        apart = float(np.abs(scores - ours[name]).max())
        if len(scores) != len(ours[name]) or apart > _APART:
            raise BenchmarkError(f"{name} of the two sides differ by {apart:.2g}")
