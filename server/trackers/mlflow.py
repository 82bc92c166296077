"""MLflow: a run of an experiment at MLFLOW_TRACKING_URI.

All goes through MLflow's client (https://mlflow.org/docs/latest/api_reference/python_api/mlflow.client.html),
which keeps no state of its process and starts no thread.
"""

import importlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedshelf.common.errors import ConfigError
from fedshelf.server.trackers.tracker import (
    REQUEST_TIMEOUT_SECONDS,
    Curves,
    ExperimentTracker,
    TrackedRun,
)

ADDRESS = "MLFLOW_TRACKING_URI"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
DEFAULT_EXPERIMENT = "fedshelf"
# without these a request to a server that is gone is repeated for four minutes, MLflow's makers are
# told of each process, and links are printed among our lines
BOUNDS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT_SECONDS),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# of one request, https://mlflow.org/docs/latest/rest-api.html#request-limits
MAX_METRICS = 1000
MAX_PARAMS = 100
MAX_PARAM_CHARACTERS = 6000
ENDS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MlflowTracker(ExperimentTracker):
    """A run in MLflow."""

    title = "MLflow"

    def __init__(self, client: Any, tracker_id: str) -> None:
        self._client = client
        self._entities = importlib.import_module("mlflow.entities")
        self.tracker_id = tracker_id
        self.place = os.environ[ADDRESS]
        self._step = 0

    @staticmethod
    def check() -> None:
        """Check that the person has said where to log; raise ConfigError if not."""
        if not os.environ.get(ADDRESS):
            raise ConfigError(
                f"run.track=mlflow logs to the server or the store in {ADDRESS}, which is not set;"
                " set it, for example to http://127.0.0.1:5000 or sqlite:////home/me/mlflow.db."
            )

    @classmethod
    def begin(cls, run: TrackedRun) -> "MlflowTracker":
        """Begin a run in the experiment MLFLOW_EXPERIMENT_NAME, or go on with it."""
        for name, value in BOUNDS.items():
            os.environ.setdefault(name, value)
        client = importlib.import_module("mlflow.tracking").MlflowClient()
        if run.tracker_id:
            client.update_run(run.tracker_id, status="RUNNING")
            tracker = cls(client, run.tracker_id)
        else:
            name = os.environ.get(EXPERIMENT) or DEFAULT_EXPERIMENT
            found = client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else client.create_experiment(name)
            tags = {"fedshelf.run_id": run.run_id}
            created = client.create_run(experiment, run_name=run.name, tags=tags)
            tracker = cls(client, created.info.run_id)
        tracker._settings({key: _param(value) for key, value in run.settings.items()})
        return tracker

    def _settings(self, settings: dict[str, str]) -> None:
        """Log settings as parameters; those that a resume changed become tags beside them."""
        params = self._client.get_run(self.tracker_id).data.params
        new = [
            self._entities.Param(key, value) for key, value in settings.items() if key not in params
        ]
        for part in _parts(new, MAX_PARAMS):
            self._client.log_batch(self.tracker_id, params=part)
        for key, value in settings.items():
            if params.get(key, value) != value:
                self._client.set_tag(self.tracker_id, key, value)

    def log(self, step: int, curves: Curves) -> None:
        """Log the figures of a round in one request for each thousand of them."""
        self._step = max(step, self._step)
        now = int(time.time() * 1000)  # ms
        metrics = [
            self._entities.Metric(name, float(value), now, step) for name, value in curves.items()
        ]
        for part in _parts(metrics, MAX_METRICS):
            self._client.log_batch(self.tracker_id, metrics=part)

    def keep(self, files: Sequence[Path], outcome: Curves) -> None:
        """Keep files as artifacts of the run, and the figures at its last round."""
        self.log(self._step, outcome)
        for path in files:
            self._client.log_artifact(self.tracker_id, str(path))

    def end(self, status: str) -> None:
        """Set the run's status."""
        self._client.set_terminated(self.tracker_id, ENDS[status])


def _parts(things: list[Any], length: int) -> Iterator[list[Any]]:
    for start in range(0, len(things), length):
        yield things[start : start + length]


def _param(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= MAX_PARAM_CHARACTERS else text[: MAX_PARAM_CHARACTERS - 1] + "…"
