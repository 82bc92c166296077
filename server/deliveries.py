"""When the server's app gives a run's model to the stores: at its end, on request between two rounds, or for itself."""

import json
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import httpx
from flwr.serverapp import Grid

from common.config import RunConfig
from common.errors import FedshelfError
from common.model_delivery import DeliverOrder
from server.checkpoints import State
from server.delivery import is_best_delivered
from server.desk import Desk
from server.distribution import Distributed, Distribution
from server.export import model_order
from server.grid import GridRuntime
from server.link import Link
from server.past_rounds import export_round
from server.run_directory import RunDirectory
from server.status import Doing, Status
from server.tail import read_json
from server.watcher import Watcher

IN_SUMMARY = "delivery"  # the summary's part on who has the model
ANSWER = 3600.0  # seconds for which an offer stays of interest
WAIT = "run.wait"  # in the app's config: seconds to deliver for; 0: until all have it or somebody asks for an end


class ModelDeliveries:
    """Gives the model of the run in `directory` to the stores of `runtime`; a `server.training_run.BetweenRounds`.

    asked: says, once, whether somebody asked for the model as it is between two rounds
    """

    def __init__(
        self,
        config: RunConfig,
        directory: RunDirectory,
        runtime: GridRuntime,
        watcher: Watcher,
        stop: Callable[[], bool],
        asked: Callable[[], bool],
    ) -> None:
        self._config, self._directory, self._runtime = config, directory, runtime
        self._watcher, self._stop, self.is_asked = watcher, stop, asked

    def do(self, state: State) -> None:
        """Give the model that the run would deliver if it ended now. What goes wrong does not end the run."""
        folder = self._directory.path / "flower" / "model"
        which = "best" if is_best_delivered(self._config, state) else "last"
        self._watcher.doing(Doing(Status.DELIVERING, state.round))
        try:
            shutil.rmtree(folder, ignore_errors=True)
            model = export_round(self._directory.path, which, folder)
            self._watcher.note(f"The model of round {model.round}, {model.because}, goes to the stores, as asked.")
            order = model_order(self._directory.path, self._config, folder)
            self._watcher.note(self._runtime.deliver(order, self._stop).told())
        except (FedshelfError, OSError, httpx.HTTPError) as error:  # the last: the SuperLink restarts
            self._watcher.note(f"The model could not be given to the stores: {error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def at_end(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Give the model of a finished run to those who are there; the summary with who has it, as it is written.

        A stopped run gives nothing: it goes on, and may have been stopped for a minute. Raises OSError.
        """
        if summary["status"] != "finished":
            return dict(summary)
        self._watcher.doing(Doing(Status.DELIVERING))
        self._watcher.note("The model goes to the stores that are here.")
        order = model_order(self._directory.path, self._config, self._directory.path)
        distributed = self._runtime.deliver(order, self._stop)
        self._watcher.note(distributed.told())
        told = {**summary, IN_SUMMARY: distributed.in_summary()}
        self._directory.write("summary.json", told)
        return told


def deliver_only(
    grid: Grid, config: RunConfig, directory: RunDirectory, desk: Desk, watcher: Watcher, until: Callable[[], bool]
) -> dict[str, Any]:
    """Give a run's model to its stores as they come, until all have it or `until` holds; who has it, as it is written.

    Those of a chain are all that are enrolled; of a run without keys, all that took part. Raises RunError without a
    model, OSError.
    """
    order = model_order(directory.path, config, directory.path)
    names = desk.enrolled if desk.are_enrolled() else None
    took_part = frozenset(read_json(directory.path / "partition.json").get("stores", {}))

    def awaited() -> Collection[str] | None:
        if names is None:
            return took_part
        return set(names().values()) if desk.are_all_registered() else None

    before = delivered_before(directory, order)
    distribution = Distribution(order, Link(grid, ANSWER, desk.answered), names, watcher.note, before)
    distributed = distribution.give(until, awaited)
    watcher.note(distributed.told())
    _write(directory, distributed)
    return distributed.in_summary()


def delivered_before(directory: RunDirectory, order: DeliverOrder) -> frozenset[str]:
    """Return the stores that have this very model already, as far as the summary knows."""
    told = read_json(directory.path / "summary.json").get(IN_SUMMARY) or {}
    return frozenset(told.get("delivered", [])) if told.get("sha256") == order.sha256 else frozenset()


def _write(directory: RunDirectory, distributed: Distributed) -> None:
    """Put into the summary who has the model. A run that has none was never ended: nothing tells of it then."""
    path = directory.path / "summary.json"
    if path.exists():
        summary = json.loads(path.read_text(encoding="utf-8"))
        directory.write("summary.json", {**summary, IN_SUMMARY: distributed.in_summary()})


def wait_or_stop(stop: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    """Return what says that `seconds` are over, if they are not 0, or that somebody asked for an end."""
    deadline = time.monotonic() + (seconds or float("inf"))
    return lambda: stop() or time.monotonic() > deadline
