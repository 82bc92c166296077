"""A store at work: its line to the server open, and all that happens told in plain words."""

import logging
import signal
from pathlib import Path
from types import FrameType
from typing import NoReturn

from client.app import make_app
from client.kit import Credentials
from client.refusals import NO_CONNECTION, STARTING
from client.resident import worker_of
from client.serving import serve
from client.work import StoreWorker
from common.config import RunConfig
from common.orders import EvaluateOrder, Evaluation, StoreInfo, TrainOrder, Update


def join_as_store(credentials: Credentials, data: Path, name: str, device: str, wait: float) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises ConfigError for a device that is not there, NetworkError if no server appears within
    `wait` seconds, RefusedError if it does not let this store in.
    """
    _log_in_plain_words()
    worker = worker_of({"store": name, "data": str(data.resolve()), "device": device})
    app = make_app(lambda _: TellingWorker(worker))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    say(f"Waiting for the server at {credentials.server}.")
    try:
        serve(credentials, app, TellingNarrator(), wait)
    except KeyboardInterrupt:
        say("Left.")


class TellingWorker:
    """A worker that says what it does; `client.app.Worker`."""

    def __init__(self, worker: StoreWorker) -> None:
        self.name, self._worker = worker.name, worker

    def info(self, config: RunConfig) -> StoreInfo:
        """What the store holds."""
        info = self._worker.info(config)
        held_out = f"{info.validation} for validation and {info.test} for testing held out"
        say(f"The server asked what is here: {info.num_examples} photos to train on, {held_out}.")
        return info

    def train(self, order: TrainOrder) -> Update:
        """Train locally."""
        say(f"Round {order.round} of {order.plan.config.run.rounds}: training.")
        update = self._worker.train(order)
        took = f"{update.num_examples} photos in {update.seconds:.1f} s"
        say(f"Round {order.round}: trained on {took}, loss {update.loss:.4f}; sending the update.")
        return update

    def evaluate(self, order: EvaluateOrder) -> Evaluation:
        """Judge the global model on photos held out."""
        evaluation = self._worker.evaluate(order)
        counts = evaluation.counts
        say(f"Round {order.round}: the global model is right on {counts.accuracy:.1%} of {counts.num_examples} photos.")
        return evaluation


class TellingNarrator:
    """Tells what happens on the line; `client.fleet.Narrator`."""

    def __init__(self) -> None:
        self._has_joined = False

    def joined(self) -> None:
        """The server knows this store."""
        say("Joined again." if self._has_joined else "Joined; waiting for work. Ctrl-C leaves.")
        self._has_joined = True

    def lost(self, reason: str) -> None:
        """The server does not answer."""
        if self._has_joined:
            say(f"Lost the server ({reason}); trying again until it is back. Ctrl-C leaves.")
        elif reason not in (NO_CONNECTION, STARTING):
            say(f"The server does not let this store in yet: {reason}. Trying again; Ctrl-C leaves.")

    def found(self) -> None:
        """The server answers again."""
        if self._has_joined:
            say("The server is back.")


def say(text: str) -> None:
    """One line for the person at the store's machine."""
    print(text, flush=True)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """Also where a shell starts us in the background, which switches Ctrl-C off."""
    raise KeyboardInterrupt


def _log_in_plain_words() -> None:
    """Our own log lines look like all others; those of libraries stay quiet."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("fedshelf")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
