"""What smaller weights save and cost: bytes, and the change of each test metric."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import polars as pl

from fuxictr_stem import results
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.data.source.raw_columns import PLACES
from fuxictr_stem.errors import UserError
from fuxictr_stem.runtime.text_table import format_bytes, text_table
from fuxictr_stem.serving.run import Run

logger = logging.getLogger(__name__)


def change_report(
    sizes: Mapping[str, tuple[int, int]],
    before: Mapping[str, float] | None,
    now: Mapping[str, float] | None,
) -> str:
    """Return sizes and the change of each metric as text.

    Args:
        sizes: The bytes in float32 and as they are stored, by what it is.
        before: The test metrics of the run; None where the test split is gone.
        now: Those of the export.
    """
    lines = [
        f"{what}: {format_bytes(float32)} in float32, {format_bytes(stored)} in the export."
        for what, (float32, stored) in sizes.items()
    ]
    if before is None or now is None:
        lines.append("The test split is gone or was changed, so metrics are not compared.")
    else:
        rows = [["test", "run", "export", "change"]]
        for name, value in before.items():
            change = now[name] - value
            rows.append([name, f"{value:.6f}", f"{now[name]:.6f}", f"{change:+.2e}"])
        lines.append(text_table(rows))
    return "\n".join(lines)


def test_metrics(run: Run) -> Mapping[str, float] | None:
    """Return a run's metrics on its test split, or None where its files are gone or were changed."""
    try:
        places = pl.read_parquet_metadata(run.folder / results.ROWS)
        dataset = {**run.params, **{key: places[key] for key in PLACES if key in places}}
        files = find_files(dataset)
        result = results.read(run.folder) or {}
        if "test" not in files or fingerprint(dataset, files) != result["settings"].get("data"):
            return None
        return run.evaluate(files["test"])
    except (UserError, OSError, KeyError) as error:
        logger.debug("No test metrics: %s", error)
        return None
