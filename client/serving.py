"""A store's working day: join, answer what comes, join again whenever the server was started afresh."""

import logging
import time

import httpx
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from client.fleet import LONGEST_RETRY, Line, Narrator, RunOverError, UnknownStoreError
from client.kit import Credentials
from common.errors import NetworkError, RefusedError

FASTEST, SLOWEST = 0.1, 2.0  # seconds between two polls: a tenth of the time since the last message
_APP_RAISED = 2  # Flower's error code for a ClientApp that raised

LOG = logging.getLogger("fedshelf.store")


def serve(credentials: Credentials, app: ClientApp, narrator: Narrator, wait: float) -> None:
    """Answer the messages of the server that the credentials are for, until KeyboardInterrupt.

    Once joined, it outlives any restart of the server. On KeyboardInterrupt it takes leave and
    raises it. Raises NetworkError if no Fedshelf server answers within the first `wait` seconds,
    RefusedError as soon as one does not let this store in.
    """
    patience = time.monotonic() + wait
    while True:
        try:
            with Line(credentials, narrator, patience) as line:
                patience = float("inf")
                _answer_all(line, app)
        except UnknownStoreError:
            narrator.lost("it was started afresh")
        except RefusedError:
            raise
        except NetworkError as error:
            if patience < float("inf"):
                raise
            narrator.lost(str(error))
            time.sleep(LONGEST_RETRY)


def _answer_all(line: Line, app: ClientApp) -> None:
    last_message = time.monotonic()
    while True:
        try:
            if (message := line.receive()) is not None:
                began = time.monotonic()
                line.send(_answer(app, message, line.node_id), time.monotonic() - began)
                last_message = time.monotonic()
                continue
        except RunOverError:
            LOG.info("The run ended before the answer could be sent.")
        except httpx.HTTPStatusError as error:
            LOG.error("The server refused a message (HTTP %s); it is left out.", error.response.status_code)
        time.sleep(min(max(0.1 * (time.monotonic() - last_message), FASTEST), SLOWEST))


def _answer(app: ClientApp, message: Message, node_id: int) -> Message:
    """The app's answer; of an app that fails, only the kind of error leaves the store."""
    try:
        return app(message, Context(message.metadata.run_id, node_id, {}, RecordDict(), {}))
    except Exception as error:
        LOG.exception("A message could not be answered.")
        return Message(Error(_APP_RAISED, type(error).__name__), reply_to=message)
