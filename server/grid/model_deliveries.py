"""Deliveries of a run's model to the stores.

They happen at the run's end, on request between two rounds, or by an app of their own.

A delivered model whose round was taken back since is recalled: the stores that have it get another
one in its place, at once or when they connect, and each such order says so.
"""

import json
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from flwr.serverapp import Grid

from fedshelf.common.config import RunConfig
from fedshelf.common.errors import FedshelfError, RunError
from fedshelf.common.protocol.model_delivery import DeliverOrder
from fedshelf.common.release.keys import read_private_key
from fedshelf.server.grid.connection import GridConnection
from fedshelf.server.grid.model_distribution import Distributed, ModelDistribution
from fedshelf.server.grid.runtime import GridRuntime
from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.ipc.store_status import StoreStatusFile
from fedshelf.server.results.checkpoints import TrainingState
from fedshelf.server.results.delivered_round import is_best_delivered
from fedshelf.server.results.given_models import GivenModels, spoilt_words, still_there
from fedshelf.server.results.jsonl_tail import read_json
from fedshelf.server.results.model_export import model_order
from fedshelf.server.results.past_rounds import export_round
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.results.run_status import RunActivity, RunObserver, RunStatus

# in the app's config: file of the key that signs a release at the run's end
RELEASE_KEY = "run.release_key"
IN_SUMMARY = "delivery"  # key of the summary's part on the stores that have the model
OFFER_LIFETIME_SECONDS = 3600.0  # seconds that an offer stays of interest
# in the app's config: seconds to deliver for; 0: until all have it or the user stops it
WAIT = "run.wait"


class ModelDeliveries:
    """Gives the model of the run in `directory` to the stores of `runtime`.

    It is a `server.training.run.BetweenRounds`.

    Args:
        requests: the run mailbox, where a person may ask for the current model between two rounds
        release_key: file of the private key that signs a release of the model at the run's end;
            None: the stores get the model without a release
    """

    def __init__(
        self,
        config: RunConfig,
        directory: RunDirectory,
        runtime: GridRuntime,
        observer: RunObserver,
        stop: Callable[[], bool],
        requests: RunMailbox,
        release_key: Path | None = None,
    ) -> None:
        self._config = config
        self._directory = directory
        self._runtime = runtime
        self._observer = observer
        self._stop = stop
        self._requests = requests
        self._release_key = release_key
        self._given = GivenModels(directory)
        # store -> round of the recalled model that it has
        self._spoilt: Mapping[str, int] | None = None
        self._tried = set[str]()  # stores that were sent another one since, with or without success

    def is_due(self, state: TrainingState) -> bool:
        """Return whether a delivery was requested, or a connected store has a recalled model."""
        if self._spoilt is None or (state.record or {}).get("taken_back"):
            self._spoilt = still_there(self._given.taken_back())
            self._tried.clear()
        is_asked = self._requests.begin_asked_delivery()
        lacking = self._spoilt.keys() - self._tried
        return is_asked or bool(lacking and lacking & self._runtime.stores().keys())

    def do(self, state: TrainingState) -> None:
        """Give the stores the model that the run would deliver if it ended now.

        A failure does not end the run: a request stands if the SuperLink was away or the disk was
        full.
        """
        folder = self._directory.path / "flower" / "model"
        which = "best" if is_best_delivered(self._config, state) else "last"
        self._observer.doing(RunActivity(RunStatus.DELIVERING, state.round))
        try:
            shutil.rmtree(folder, ignore_errors=True)
            model = export_round(self._directory.path, which, folder)
            why = (
                "as asked"
                if self._requests.begin_asked_delivery()
                else _in_place(self._spoilt or {})
            )
            self._observer.note(
                f"The model of round {model.round}, {model.because}, goes to the stores, {why}."
            )
            self._give(folder, model.round)
            self._requests.end_asked_delivery()
        except (OSError, httpx.HTTPError) as error:  # HTTPError: the SuperLink restarts
            self._observer.note(
                "The model could not be sent to the stores; the next attempt follows the next"
                f" round: {error}"
            )
        except FedshelfError as error:
            self._observer.note(f"The model could not be sent to the stores: {error}")
            self._requests.end_asked_delivery()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def at_end(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Give the model of a finished run to the connected stores, as a release if there is a key.

        Return the summary with those that have it.

        The summary is also written. A stopped run gives nothing: it may go on, even after a minute.

        Raises OSError.
        """
        if summary["status"] != "finished":
            return dict(summary)
        self._observer.doing(RunActivity(RunStatus.DELIVERING))
        if self._release_key is not None:
            self._release(self._release_key)
        self._observer.note("The model goes to the connected stores.")
        distributed = self._give(self._directory.path, summary["delivered_round"])
        with_delivery = {**summary, IN_SUMMARY: distributed.to_summary()}
        self._directory.write("summary.json", with_delivery)
        self._requests.end_asked_delivery()
        return with_delivery

    def _release(self, key: Path) -> None:
        """Make a release of the run's model; if that fails, the stores get the model without one.

        Raises OSError.
        """
        from fedshelf.server.results.release import (
            make_release,
        )  # loads what exports, if it is there

        try:
            folder, _ = make_release(self._directory.path, read_private_key(key))
            self._observer.note(f"Released to {folder}.")
        except FedshelfError as error:
            self._observer.note(f"No release could be made: {error}")

    def _give(self, folder: Path, round_number: int) -> Distributed:
        order = _calling_back(model_order(self._directory.path, self._config, folder), self._given)
        self._tried |= (self._spoilt or {}).keys()
        distributed = self._runtime.deliver(order, self._stop)
        self._spoilt = _record_receipts(distributed, self._given, round_number, self._observer)
        return distributed


def deliver_only(
    grid: Grid,
    config: RunConfig,
    directory: RunDirectory,
    mailbox: RunMailbox,
    observer: RunObserver,
    until: Callable[[], bool],
) -> dict[str, Any]:
    """Give a run's model to its stores as they connect, until all have it or `until` returns True.

    With a certificate chain, all enrolled stores are waited for; without keys, all that took part.

    Returns the summary's part on the stores that have the model, which is also written.

    Raises RunError if there is no model, or if its round was taken back; OSError.
    """
    given = GivenModels(directory)
    order = _calling_back(model_order(directory.path, config, directory.path), given)
    names = mailbox.enrolled if mailbox.are_enrolled() else None
    took_part = frozenset(read_json(directory.path / "partition.json").get("stores", {}))

    def awaited() -> Collection[str] | None:
        if names is None:
            return took_part
        return set(names().values()) if mailbox.are_all_registered() else None

    before = delivered_before(directory, order)
    store_status = StoreStatusFile.of_earlier_run(mailbox.store_status)
    link = GridConnection(grid, OFFER_LIFETIME_SECONDS, mailbox.upload_log, mailbox.directory)
    distribution = ModelDistribution(order, link, names, observer.note, before, store_status)
    distributed = distribution.give(until, awaited)
    store_status.flush(at_once=True)
    _record_receipts(
        distributed,
        given,
        read_json(directory.path / "summary.json").get("delivered_round", 0),
        observer,
    )
    _write(directory, distributed)
    mailbox.end_asked_delivery()
    return distributed.to_summary()


def _calling_back(order: DeliverOrder, given: GivenModels) -> DeliverOrder:
    """Return the order with the recalled models that it replaces.

    Raises:
        RunError: its own model is a recalled one
    """
    recalled = tuple(each.sha256 for each in given.taken_back())
    if order.sha256 in recalled:
        raise RunError(
            f"The round of the model of run {order.run} was taken back later, so no store gets this"
            " model. Continue the run to its end (start --resume): it then writes another one."
        )
    return replace(order, recalled=recalled)


def _record_receipts(
    distributed: Distributed, given: GivenModels, round_number: int, observer: RunObserver
) -> Mapping[str, int]:
    """Record and tell which stores have the model.

    Return {store: round} of recalled models still in use.
    """
    observer.note(distributed.sentence())
    given.note(distributed.sha256, round_number, distributed.delivered)
    if spoilt := still_there(given.taken_back()):
        observer.note(spoilt_words(spoilt))
    return spoilt


def _in_place(spoilt: Mapping[str, int]) -> str:
    """Return the words that name the models that a delivery replaces."""
    rounds = ", ".join(map(str, sorted(set(spoilt.values()))))
    return (
        f"in place of that of round {rounds}, which was taken back and which"
        f" {', '.join(spoilt)} got"
    )


def delivered_before(directory: RunDirectory, order: DeliverOrder) -> frozenset[str]:
    """Return the stores that have this very model and its release already.

    It is as far as the summary says.
    """
    delivery = read_json(directory.path / "summary.json").get(IN_SUMMARY) or {}
    return (
        frozenset(delivery.get("delivered", []))
        if (delivery.get("sha256"), delivery.get("release"))
        == (order.sha256, order.envelope_sha256)
        else frozenset()
    )


def _write(directory: RunDirectory, distributed: Distributed) -> None:
    """Write to the summary which stores have the model.

    A run without a summary has not ended; then nothing is written.
    """
    path = directory.path / "summary.json"
    if path.exists():
        summary = json.loads(path.read_text(encoding="utf-8"))
        directory.write("summary.json", {**summary, IN_SUMMARY: distributed.to_summary()})


def wait_or_stop(stop: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    """Return a function that returns True after `seconds` (0: never), or once `stop` does."""
    deadline = time.monotonic() + (seconds or float("inf"))
    return lambda: stop() or time.monotonic() > deadline
