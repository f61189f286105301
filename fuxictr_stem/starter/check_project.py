"""Check a new project as a run would, before its folder appears."""

from __future__ import annotations

from pathlib import Path

from fuxictr_stem.config.experiment_config import list_experiments, load_experiment
from fuxictr_stem.config.tasks import task_types
from fuxictr_stem.data.checks.check_labels import check_labels
from fuxictr_stem.data.source.column_plan import plan_columns
from fuxictr_stem.data.source.files import SPLITS, find_files
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.data.source.validate import check_source
from fuxictr_stem.errors import DataError, UserError
from fuxictr_stem.runtime.whole_folder import fresh_folder


def check_project(fresh: Path, out: Path) -> None:
    """Check the configs in a folder, and its rows, as a run does; ``out`` is where it will be.

    Raises:
        DataError: A run would reject them; about the place that the configs name.
    """
    try:
        params = [load_experiment(fresh, expid) for expid in list_experiments(fresh)]
        dataset = dict(params[0])
        for split in SPLITS:
            name = Path(dataset[f"{split}_data"]).name
            dataset[f"{split}_data"] = str(fresh.absolute() / "data" / name)
        source = open_source(plan_columns(dataset), find_files(dataset))
        with fresh_folder(out) as copies:
            _, stats = check_source(source, copies)
        labels = {split: counts.labels for split, counts in stats.items()}
        for experiment in params:
            check_labels(labels, task_types(experiment), experiment["metrics"])
    except UserError as error:
        text = str(error).replace(f"{fresh.absolute()}", f"{out}").replace(f"{fresh}", f"{out}")
        raise DataError(text) from error
