"""Main loop of a store: join, poll for orders, join again when the server was started afresh.

    serve --> FleetConnection (joins) --> _poll_forever --> _poll_once --> orders: OrderQueue.append
      ^                                        |                  +-----> probes: answered at once
      +--- the server was started afresh ------+

Between two polls it waits the longer, the longer nothing has come; a server that holds a poll until
there is a message is polled again at once.
"""

import logging
import time

import httpx
from flwr.app import MessageType

from fedshelf.client.connection.credentials import Credentials
from fedshelf.client.connection.errors import RunOverError, UnknownStoreError
from fedshelf.client.connection.fleet import MAX_RETRY_SECONDS, ConnectionObserver, FleetConnection
from fedshelf.client.session.order_queue import OrderQueue
from fedshelf.common.errors import MessageError, NetworkError, RefusedError
from fedshelf.common.protocol.probe import PROBE_MESSAGE_TYPE

# seconds between two polls: a tenth of the time since the last order was done ...
MIN_POLL_SECONDS = 0.1
MAX_POLL_SECONDS = 2.0
BUSY_WAIT_SECONDS = 1.0  # ... but only a probe can come while an order is worked on
SERVER_TURN_SHARE = (
    0.75  # share of the server's time for the last order, from an answer until the next poll ...
)
MAX_SERVER_TURN_SECONDS = 1.0  # ... and at most this many seconds
# times the duration of a poll: a server with many stores answers slowly, and is then polled less
# often
POLL_TIME_FACTOR = 5

LOG = logging.getLogger("fedshelf.store")


def serve(
    credentials: Credentials, orders: OrderQueue, observer: ConnectionObserver, wait: float
) -> None:
    """Serve the server that the credentials are for, until KeyboardInterrupt.

    Once joined, it survives any restart of the server, and a full disk of its own. On
    KeyboardInterrupt it deregisters and raises it.

    Args:
        credentials: The address of the server and the store's key.
        orders: The queue that carries out what the server asks.
        observer: Is told when the store has joined, and when the server is lost or back.
        wait: Seconds in which a server must answer first.

    Raises:
        NetworkError: No Fedshelf server has answered in time.
        RefusedError: A server does not admit this store.
    """
    deadline = time.monotonic() + wait
    while True:
        try:
            with FleetConnection(
                credentials, observer, deadline, orders.traffic.count_received
            ) as connection:
                # once joined, a store waits for ever: nobody sits beside it to start it again
                deadline = float("inf")
                _poll_forever(connection, orders)
        except UnknownStoreError:
            observer.on_lost("it was started afresh")
        # a NetworkError, too, but no waiting changes it
        except RefusedError:
            raise
        except OSError as error:  # nothing is done that cannot be recorded
            LOG.error(
                "The audit log cannot be written (%s); trying again until it can.", error.strerror
            )
            time.sleep(MAX_RETRY_SECONDS)
        except NetworkError as error:
            if deadline < float("inf"):
                raise
            observer.on_lost(str(error))
            time.sleep(MAX_RETRY_SECONDS)


def _poll_forever(connection: FleetConnection, orders: OrderQueue) -> None:
    # when the last order was done; seconds that the server then took for another
    last_order_done = time.monotonic()
    server_turn_seconds = 0.0
    while True:
        poll_began = time.monotonic()
        is_busy = orders.is_busy
        kinds = _poll_once(connection, orders)
        poll_seconds = time.monotonic() - poll_began
        if kinds and not is_busy:
            # the store was idle, so all of this time was the server's
            server_turn_seconds = poll_began - last_order_done
        if kinds and kinds[-1] != MessageType.TRAIN:
            # the server hands out one at a time: after an evaluation the next training may wait
            continue
        if connection.is_held:
            # a held poll that comes back at once and empty (from a proxy) must not make a busy loop
            time.sleep(0.0 if kinds else max(MIN_POLL_SECONDS - poll_seconds, 0.0))
            continue
        if orders.is_busy:
            orders.wait_until_idle(BUSY_WAIT_SECONDS)
            if not orders.is_busy:
                last_order_done = time.monotonic()
                # the next order is not there before the server has had its turn
                time.sleep(min(SERVER_TURN_SHARE * server_turn_seconds, MAX_SERVER_TURN_SECONDS))
        else:
            time.sleep(
                min(
                    max(
                        0.1 * (time.monotonic() - last_order_done),
                        MIN_POLL_SECONDS,
                        POLL_TIME_FACTOR * poll_seconds,
                    ),
                    MAX_POLL_SECONDS,
                )
            )


def _poll_once(connection: FleetConnection, orders: OrderQueue) -> list[str]:
    """Poll once for messages, and queue or answer those that came; return their types."""
    kinds = []
    try:
        for incoming in connection.receive():
            kinds.append(incoming.type)
            if incoming.type == PROBE_MESSAGE_TYPE:
                orders.answer_probe(connection, incoming)
            else:
                orders.append(connection, incoming)
    # the run ended after the message was announced: nobody waits for an answer
    except RunOverError:
        pass
    except MessageError as error:
        LOG.error("%s It is left out.", error)
    except httpx.HTTPStatusError as error:
        LOG.error(
            "The server refused a message (HTTP %s); it is left out.", error.response.status_code
        )
    return kinds
