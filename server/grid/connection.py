"""The app's connection to stores: over Flower's grid, or through files of the gateway."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedshelf.common.errors import FedshelfError, MessageError
from fedshelf.common.names import check_store_name
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Failure,
    FailureCode,
    StoreInfo,
    TrainOrder,
)
from fedshelf.common.protocol.probe import PROBE_MESSAGE_TYPE, announce_size, is_present, make_probe
from fedshelf.common.protocol.serialization import (
    Notice,
    Query,
    Result,
    decode_result,
    encode_order,
)
from fedshelf.server.grid.mailbox import GONE, Mailbox
from fedshelf.server.grid.reply_puller import UNREADABLE, ReplyPuller
from fedshelf.server.ipc.presence import PresenceReader
from fedshelf.server.ipc.run_mailbox import PRESENCE, TRAFFIC, WITHDRAWN
from fedshelf.server.ipc.traffic import Flow, TrafficReader
from fedshelf.server.ipc.upload_log import UploadLogReader
from fedshelf.server.ipc.withdrawals import Withdrawals

# bytes of answers pulled together: many small ones, or one large one
MAX_REPLY_BYTES_AT_ONCE = 64 * 2**20
# seconds between two requests for the SuperLink's list of nodes, if the gateway sees no change
NODE_LIST_INTERVAL_SECONDS = 30.0
# characters of the reason why a message cannot be read; it goes into the history
_MAX_REASON_CHARACTERS = 300
# flwr.common.constant.ErrorCode, which is private
# the SuperLink does not have the message or its answer, or has it no longer
LOST_ERROR_CODES = frozenset({3, 4})
_FLOWER_ERRORS: dict[int, tuple[FailureCode, str]] = {
    3: ("timeout", "no answer in time"),
    4: ("timeout", "its answer was lost on the way"),
    5: ("unavailable", "lost the connection"),
    UNREADABLE: ("invalid", "its answer cannot be read"),
}


class GridConnection:
    """A connection over Flower's grid, with or without a gateway.

    ttl:     seconds that a question stays of interest
    told_in: the file in which the gateway records finished uploads; None: there is no gateway
    carried: the directory through which the gateway carries messages; None: Flower's SuperLink does
    """

    def __init__(
        self,
        grid: Grid,
        ttl: float,
        upload_log: Path | None = None,
        message_directory: Path | None = None,
    ) -> None:
        self._grid = grid
        self.ttl = ttl
        self._reply_puller = ReplyPuller(grid)
        self._uploads = UploadLogReader(upload_log)
        self.has_upload_log = upload_log is not None
        self._traffic = TrafficReader(upload_log and upload_log.with_name(TRAFFIC))
        self._withdrawals = Withdrawals(upload_log and upload_log.with_name(WITHDRAWN))
        self._mailbox = Mailbox(message_directory) if message_directory else None
        self._presence = PresenceReader(message_directory / PRESENCE) if message_directory else None
        self._online = set[int]()
        self._listed_at = float("-inf")
        self._known: set[int] = set()
        self._connected: set[int] = set()

    def nodes(self) -> set[int]:
        """Return the connected nodes.

        These are the nodes whose heartbeats arrive, and known ones that are sending an answer just
        now.
        """
        online = self._nodes_with_heartbeat()
        self._known |= online
        self._connected = online | {
            node for node, flow in self.flows().items() if flow.way == "up" and node in self._known
        }
        return set(self._connected)

    def _nodes_with_heartbeat(self) -> set[int]:
        """Return the nodes whose heartbeats arrive.

        The SuperLink's list costs it more the more nodes there are. As long as the gateway sees no
        change, an earlier list is used.
        """
        if self._presence is None:
            return set(self._grid.get_node_ids())
        if (
            self._presence.has_changed()
            or time.monotonic() - self._listed_at > NODE_LIST_INTERVAL_SECONDS
        ):
            self._online = set(self._grid.get_node_ids())
            self._listed_at = time.monotonic()
        return self._presence.of(self._online)

    def flows(self) -> Mapping[int, Flow]:
        """Return the long transfers in progress, by node."""
        return self._traffic.flows()

    def withdraw(self, message_ids: Iterable[str]) -> None:
        """Withdraw messages whose answers will not be used.

        Stores that ask before they send more are told so.
        """
        orders = list(message_ids)
        # on disk, as the gateway is another process
        self._withdrawals.add(orders)
        if self._mailbox:
            self._mailbox.forget(orders)

    def ask(self, node_id: int, order: Query | Notice) -> str | None:
        """Send a small message and return its id, or None if it could not be sent."""
        return self.send(encode_order(order), MessageType.QUERY, {node_id: self.ttl})[0]

    def probe(self, node_id: int, message_id: str) -> str | None:
        """Ask whether the node has a message."""
        return self.send(make_probe(message_id), PROBE_MESSAGE_TYPE, {node_id: self.ttl})[0]

    def send(self, content: RecordDict, kind: str, nodes: dict[int, float]) -> list[str | None]:
        """Send the same records to several nodes, and return the ids of the messages.

        `nodes` maps a node's id to the seconds for which the message is of interest.

        An id is None for a message that was not stored. Flower 1.41 returns "" for a message to a
        node that is gone, where its interface promises None.

        If a node confirms a message before its parts are there, Flower drops the parts and fails
        for all nodes. Then each node gets a message of its own, and only that node's is not stored.
        """
        if self._mailbox:
            return self._mailbox.send(content, kind, nodes)
        announced = announce_size(content)
        messages = [
            Message(content, node_id, kind, ttl=ttl, group_id=announced)
            for node_id, ttl in nodes.items()
        ]
        if not messages:
            return []
        try:
            sent = [identity or None for identity in self._grid.push_messages(messages)]
        except Exception as error:
            if type(error).__name__ != "ObjectPushError":  # flwr's, which is private
                raise
            if len(messages) == 1:
                return [None]
            return [self.send(content, kind, {node_id: ttl})[0] for node_id, ttl in nodes.items()]
        return sent + [None] * (len(messages) - len(sent))

    def complete(self, message_ids: Collection[str]) -> set[str]:
        """Return the messages whose answers are complete since the last call.

        Those that are being pulled count, too.
        """
        return self._uploads.complete(message_ids) | self._reply_puller.underway().intersection(
            message_ids
        )

    def begun(self, message_ids: Collection[str]) -> set[str]:
        """Return the messages whose answers are on their way, but not complete."""
        return self._uploads.begun(message_ids)

    def pull(self, message_ids: Iterable[str], size: int = 0) -> Iterator[Message]:
        """Yield the available answers, of about `size` bytes each.

        There are never many large ones in memory at once.
        """
        wanted = list(message_ids)
        # an answer that is on its way would be pulled in vain, and its store be taken for lost
        begun = self.begun(wanted)
        if self._mailbox is None:
            whole = [message_id for message_id in wanted if message_id not in begun]
            yield from self._reply_puller.pull(
                whole, max(MAX_REPLY_BYTES_AT_ONCE // max(size, 2**20), 1)
            )
            return
        for order in wanted:
            answer = self._mailbox.take(order)
            if answer is None and order not in begun:
                answer = self._mailbox.lost(order, self._connected)
            if answer is not None:
                yield answer


def read(reply: Message, store: str, order: TrainOrder | EvaluateOrder | None = None) -> Result:
    """Return the result in a reply.

    An error of Flower's, or an unreadable result, becomes a Failure of `store`.
    """
    if reply.has_error():
        unknown: tuple[FailureCode, str] = (
            "error",
            f"could not run the order (Flower's error {reply.error.code})",
        )
        return Failure(store, *_FLOWER_ERRORS.get(reply.error.code, unknown))
    try:
        result = decode_result(reply.content, order)
        name = result.name if isinstance(result, StoreInfo) else result.store
        check_store_name(name)
    except FedshelfError as error:
        return Failure(store, "invalid", str(error)[:_MAX_REASON_CHARACTERS])
    if store and name != store:
        return Failure(store, "invalid", f"answered as {name!r}")
    return result


def is_denied(reply: Message) -> bool:
    """Return whether the answer to a probe is that the message is not there.

    It is False if the node could not tell.
    """
    try:
        return not reply.has_error() and not is_present(reply.content)
    except MessageError:
        return False


__all__: Sequence[str] = ("GONE", "LOST_ERROR_CODES", "GridConnection", "is_denied", "read")
