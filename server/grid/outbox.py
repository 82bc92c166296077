"""Messages on their way to stores, whatever is lost in between.

Flower hands each message out once. If that fails half-way, or the store dies with it, or its answer is lost, then the
store is found not to have the message, and its sender sends it again; stores do nothing twice.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from flwr.app import Message, RecordDict

from fedshelf.server.grid.connection import LOST_ERROR_CODES, GridConnection, says_no

DOUBT = 5.0  # seconds without an answer until a store is asked whether it has a message; then a tenth of the time,
# and where it has not answered that either, as long again as it has been waited for
SLOWEST_DOUBT = 60.0  # seconds between two such questions, at most

About = TypeVar("About")


@dataclass
class Sent(Generic[About]):
    """A message at a node. Times are values of time.monotonic().

    about:      its sender's word on it, such as the store behind the node
    doubt_at:   when to ask the node whether it has the message
    probe:      that question's message
    is_missing: the node does not have it
    """

    about: About
    node_id: int
    sent: float
    doubt_at: float
    probe: str | None = None
    is_missing: bool = False


class Outbox(Generic[About]):
    """Sends messages over `link`. Its attribute `waiting` has those that are not answered, by the messages' ids."""

    def __init__(self, link: GridConnection) -> None:
        self._link = link
        self.waiting: dict[str, Sent[About]] = {}

    def send(self, content: RecordDict, kind: str, nodes: Mapping[int, About], ttl: float) -> list[About]:
        """Send the same records to nodes, to be answered within `ttl` seconds; those that it was not stored for."""
        now, gone = time.monotonic(), list[About]()
        identities = self._link.send(content, kind, dict.fromkeys(nodes, ttl))
        for (node_id, about), identity in zip(nodes.items(), identities, strict=True):
            if identity is None:
                gone.append(about)
            else:
                self.waiting[identity] = Sent(about, node_id, now, now + DOUBT)
        return gone

    def pull(self, asked: Collection[str] | None = None, size: int = 0) -> Iterator[tuple[Sent[About], Message]]:
        """Take in answers that are there, of about `size` bytes each. asked: to which messages; None: to all.

        An error that says that the message, or its answer, got lost is none: the node will be found not to have it.
        """
        for reply in self._link.pull(self.waiting if asked is None else asked, size):
            identity = reply.metadata.reply_to_message_id  # the sender's id is the link's if a node died
            is_lost = reply.has_error() and reply.error.code in LOST_ERROR_CODES
            if not is_lost and (sent := self.waiting.pop(identity, None)) is not None:
                yield sent, reply

    def look_after(self) -> None:
        """Hear whether nodes have what they were asked about, and ask about what is not answered for long."""
        now, probes = time.monotonic(), {sent.probe: sent for sent in self.waiting.values() if sent.probe}
        for reply in self._link.pull(probes):
            sent = probes[reply.metadata.reply_to_message_id]
            sent.probe, sent.is_missing = None, says_no(reply)
        for identity, sent in self.waiting.items():
            if not sent.is_missing and now >= sent.doubt_at:
                # Flower's own SuperNode does one thing after another: more questions would only keep it from its order.
                share = 0.1 if sent.probe is None else 1.0
                sent.probe = self._link.probe(sent.node_id, identity)
                sent.doubt_at = now + min(max(share * (now - sent.sent), DOUBT), SLOWEST_DOUBT)

    def has_missing(self) -> bool:
        """Return whether there is something to send again."""
        return any(sent.is_missing for sent in self.waiting.values())

    def take_missing(self) -> list[Sent[About]]:
        """Take out what is to be sent again. To be called when all answers have been pulled since `look_after`: one
        that came before its store said that it had nothing to do is then no longer waited for.
        """
        missing = {identity: sent for identity, sent in self.waiting.items() if sent.is_missing}
        for identity in missing:
            del self.waiting[identity]
        return list(missing.values())

    def drop(self, identities: Iterable[str]) -> None:
        """Wait for these answers no more; stores that ask before they go on sending are told so."""
        dropped = list(identities)
        self._link.withdraw(dropped)
        for identity in dropped:
            del self.waiting[identity]
