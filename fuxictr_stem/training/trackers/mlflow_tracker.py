"""MLflow: a run on a tracking server, or in the store that ``MLFLOW_TRACKING_URI`` names."""

from __future__ import annotations

import importlib.util
import json
import os
import time

from fuxictr_stem.training.trackers.tracker import ALWAYS, Ending, Point, TrackedRun, Tracker

# What the client would otherwise do: try for minutes, write to standard output, report its use.
_CLIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# The most of each that a request may hold.
_PARAMS, _METRICS = 100, 1000
_TEXT = 6000


class MLflow(Tracker):
    """A run whose experiment is ``MLFLOW_EXPERIMENT_NAME``, else the group, else the dataset."""

    name = "mlflow"
    tries = 3

    def prepare(self) -> str:
        """Import the client; its stores in a database need SQLAlchemy."""
        for variable, value in _CLIENT.items():
            os.environ.setdefault(variable, value)
        import mlflow

        scheme = mlflow.get_tracking_uri().partition("://")[0]
        served = scheme in ("http", "https", "file", "databricks")
        if served or importlib.util.find_spec("sqlalchemy") is not None:
            return ""
        return (
            f"the store {mlflow.get_tracking_uri()} needs SQLAlchemy and Alembic, which are not installed. "
            "Set MLFLOW_TRACKING_URI to a server, such as http://localhost:5000, or install them."
        )

    def start(self, run: TrackedRun, previous: str | None, next_step: int) -> str:
        """Continue with a run that is still there, or begin one in its experiment."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._client = MlflowClient()
        if previous is not None:
            try:
                self._client.update_run(previous, status="RUNNING")
                self._id = previous
                return previous
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or run.group or run.dataset_id
        tags = {"dataset_id": run.dataset_id, **({"group": run.group} if run.group else {})}
        created = self._client.create_run(
            self._experiment_id(experiment), tags=tags, run_name=run.name
        )
        self._id = str(created.info.run_id)
        self._log_params(run)
        return self._id

    def _experiment_id(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.create_experiment(name))
        except MlflowException:
            # There may be one of this name.
            there = self._client.get_experiment_by_name(name)
            if there is None:
                raise
            return str(there.experiment_id)

    def _log_params(self, run: TrackedRun) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)[:_TEXT]) for name, value in run.params.items()]
        for start in range(0, len(params), _PARAMS):
            some = params[start : start + _PARAMS]
            self._client.log_batch(self._id, params=some, synchronous=True)

    def log(self, points: list[Point]) -> None:
        """Send points; a request holds whole ones."""
        from mlflow.entities import Metric

        size = max(_METRICS // max(len(point.figures) for point in points), 1)
        for start in range(0, len(points), size):
            metrics = [
                Metric(name, value, round(1000 * seconds), step)
                for step, seconds, figures in points[start : start + size]
                for name, value in figures.items()
            ]
            self._client.log_batch(self._id, metrics=metrics, synchronous=True)

    def last_step(self) -> int:
        """Return the step of the last point that is there."""
        if ALWAYS not in self._client.get_run(self._id).data.metrics:
            return -1
        return max(metric.step for metric in self._client.get_metric_history(self._id, ALWAYS))

    def end(self, ending: Ending) -> None:
        """Log the test metrics that are not there, and the result as an artifact; set the status."""
        there = self._client.get_run(self._id).data.metrics
        figures = {name: x for name, x in ending.figures().items() if name not in there}
        if figures:
            self.log([Point(ending.step, time.time(), figures)])
        self._client.set_terminated(self._id, status=ending.status)
        if ending.result is not None:
            self._client.log_text(self._id, json.dumps(ending.result, indent=2), "result.json")
