"""What smaller tables save and cost: bytes, and the change of each test metric."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from fuxictr_stem import results
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.data.source.first_rows import PLACES
from fuxictr_stem.errors import UserError
from fuxictr_stem.runtime.text_table import format_bytes, text_table
from fuxictr_stem.serving.run import Run
from fuxictr_stem.serving.scoring_module import ScoringModule

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shrunk:
    """Tables that are stored in fewer bytes."""

    bytes_before: int  # their bytes in float32
    bytes_after: int  # their bytes as they are stored
    # The test metrics before; None where the test split is gone.
    metrics: Mapping[str, float] | None

    @classmethod
    def of(cls, module: ScoringModule, metrics: Mapping[str, float] | None) -> Shrunk:
        """Measure a module's tables, before their weights are rounded."""
        tables = list(module.tables())
        before = sum(table.original.nbytes for table in tables)
        return cls(before, sum(table.stored_bytes for table in tables), metrics)

    def report(self, stored_as: str, metrics: Mapping[str, float] | None) -> str:
        """Return sizes and the change of each metric as text."""
        sizes = f"{format_bytes(self.bytes_before)} in float32, {format_bytes(self.bytes_after)}"
        lines = [f"Tables: {sizes} in {stored_as}."]
        if self.metrics is None or metrics is None:
            lines.append("The test split is gone or was changed, so metrics are not compared.")
        else:
            rows = [["test", "float32", stored_as, "change"]]
            for name, value in self.metrics.items():
                now = metrics[name]
                rows.append([name, f"{value:.6f}", f"{now:.6f}", f"{now - value:+.2e}"])
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
