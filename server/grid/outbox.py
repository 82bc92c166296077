"""Messages on their way to stores, sent again if they get lost.

Flower hands each message out once. If that fails half-way, or the store dies with it, or its answer
is lost, a probe finds that the store does not have the message, and the sender sends it again.
Stores do nothing twice.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from flwr.app import Message, RecordDict

from fedshelf.server.grid.connection import LOST_ERROR_CODES, GridConnection, is_denied

# Seconds without an answer until a store is asked whether it has a message. Later probes follow
# after a tenth of the time waited so far; if the last probe is not answered either, after as long
# again as that time.
PROBE_AFTER_SECONDS = 5.0
MAX_PROBE_INTERVAL_SECONDS = 60.0  # most seconds between two such probes

About = TypeVar("About")


@dataclass
class Sent(Generic[About]):
    """A message at a node. Times are values of time.monotonic().

    Attributes:
        about: the sender's note on it, such as the store behind the node
        probe_at: time to ask the node whether it has the message
        probe: id of that question
        is_missing: the node does not have the message
    """

    about: About
    node_id: int
    sent: float
    probe_at: float
    probe: str | None = None
    is_missing: bool = False


class Outbox(Generic[About]):
    """Sends messages over `link`.

    Its attribute `waiting` has the unanswered ones, by the messages' ids.
    """

    def __init__(self, connection: GridConnection) -> None:
        self._connection = connection
        self.waiting: dict[str, Sent[About]] = {}

    def send(
        self, content: RecordDict, kind: str, nodes: Mapping[int, About], ttl: float
    ) -> list[About]:
        """Send the same records to nodes, to be answered within `ttl` seconds.

        Returns the notes of the messages that were not stored.

        Args:
            nodes: node id -> note on the message
        """
        now = time.monotonic()
        gone = list[About]()
        identities = self._connection.send(content, kind, dict.fromkeys(nodes, ttl))
        for (node_id, about), identity in zip(nodes.items(), identities, strict=True):
            if identity is None:
                gone.append(about)
            else:
                self.waiting[identity] = Sent(about, node_id, now, now + PROBE_AFTER_SECONDS)
        return gone

    def pull(
        self, message_ids: Collection[str] | None = None, size: int = 0
    ) -> Iterator[tuple[Sent[About], Message]]:
        """Yield the available answers, of about `size` bytes each.

        An error that says that the message, or its answer, got lost is no answer: a probe will find
        that the node does not have the message.

        Args:
            message_ids: ids of the messages; None: all
        """
        for reply in self._connection.pull(
            self.waiting if message_ids is None else message_ids, size
        ):
            # the sender's id is the link's if a node died
            identity = reply.metadata.reply_to_message_id
            is_lost = reply.has_error() and reply.error.code in LOST_ERROR_CODES
            if not is_lost and (sent := self.waiting.pop(identity, None)) is not None:
                yield sent, reply

    def probe_silent(self) -> None:
        """Take the answers to probes, and probe nodes that have not answered for long."""
        now = time.monotonic()
        probes = {sent.probe: sent for sent in self.waiting.values() if sent.probe}
        for reply in self._connection.pull(probes):
            sent = probes[reply.metadata.reply_to_message_id]
            sent.probe = None
            sent.is_missing = is_denied(reply)
        for identity, sent in self.waiting.items():
            if not sent.is_missing and now >= sent.probe_at:
                # Flower's own SuperNode handles one message at a time: more probes would only keep
                # it from its order.
                share = 0.1 if sent.probe is None else 1.0
                sent.probe = self._connection.probe(sent.node_id, identity)
                sent.probe_at = now + min(
                    max(share * (now - sent.sent), PROBE_AFTER_SECONDS), MAX_PROBE_INTERVAL_SECONDS
                )

    def has_missing(self) -> bool:
        """Return whether there are messages to send again."""
        return any(sent.is_missing for sent in self.waiting.values())

    def take_missing(self) -> list[Sent[About]]:
        """Return the messages to send again, and stop waiting for their answers.

        Call it when all answers have been pulled since `look_after`. Then a message whose answer
        came before its store said that it does not have the message is not sent again.
        """
        missing = {identity: sent for identity, sent in self.waiting.items() if sent.is_missing}
        for identity in missing:
            del self.waiting[identity]
        return list(missing.values())

    def drop(self, identities: Iterable[str]) -> None:
        """Stop waiting for these answers; stores that ask before they send more are told so."""
        dropped = list(identities)
        self._connection.withdraw(dropped)
        for identity in dropped:
            del self.waiting[identity]
