"""Distribution of the delivered model to the stores.

A large one is offered, and sent to stores that want it.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import MessageType

from fedshelf.common.protocol.failures import MAX_RETRY_AFTER_SECONDS
from fedshelf.common.protocol.messages import Failure
from fedshelf.common.protocol.model_delivery import DeliverOrder, ModelReceipt
from fedshelf.common.protocol.serialization import encode_order
from fedshelf.server.grid.connection import GridConnection, read
from fedshelf.server.grid.outbox import Outbox
from fedshelf.server.ipc.store_status import State, StoreStatusFile

REPLIES_POLL_SECONDS = 0.2  # seconds between two polls for answers
PRESENCE_CHECK_SECONDS = 2.0  # seconds between two checks of the connected nodes
MAX_UNOFFERED_BYTES = (
    2**20
    # bytes of a model that is sent without an offer, which would only cost another exchange with
    # all stores
)
# seconds until a store that could not keep the model is offered it again
OFFER_RETRY_SECONDS = 60.0
MAX_STORES_IN_LINE = 20  # stores that a line names; the summary has all
AWAY = "not connected"
NO_ANSWER = "no answer yet"


@dataclass(frozen=True)
class Distributed:
    """The stores that have a model, and those that do not.

    Attributes:
        delivered: the stores that have it
        refused: store -> reason; a store that refused does not change its mind
        missing: store -> reason, of all others
        envelope_sha256: of the release that the model is of; None: it is of none
    """

    sha256: str
    delivered: frozenset[str]
    refused: Mapping[str, str]
    missing: Mapping[str, str]
    envelope_sha256: str | None = None

    def to_summary(self) -> dict[str, Any]:
        """Return the summary's part."""
        summary: dict[str, Any] = {"sha256": self.sha256, "delivered": sorted(self.delivered)}
        if self.envelope_sha256 is not None:
            summary["release"] = self.envelope_sha256
        return summary | {
            "refused": dict(sorted(self.refused.items())),
            "missing": dict(sorted(self.missing.items())),
        }

    def sentence(self) -> str:
        """Return the outcome in a sentence or two."""
        stores = "store has" if len(self.delivered) == 1 else "stores have"
        parts = [f"{len(self.delivered)} {stores} the model"]
        for words, reasons in (("refused", self.refused), ("not yet delivered", self.missing)):
            if reasons:
                named = [
                    f"{name} ({why})" for name, why in sorted(reasons.items())[:MAX_STORES_IN_LINE]
                ]
                more = (
                    [f"{len(reasons) - MAX_STORES_IN_LINE} more"]
                    if len(reasons) > MAX_STORES_IN_LINE
                    else []
                )
                parts.append(f"{words}: {', '.join(named + more)}")
        return "; ".join(parts) + "."


@dataclass
class _Known:
    """The state of a node.

    Attributes:
        settled: nothing more is to be sent
        why: the reason why it does not have the model
        offer_at: value of time.monotonic() before which it gets no offer
    """

    store: str = ""
    settled: bool = False
    why: str = NO_ANSWER
    is_refused: bool = False
    offer_at: float = 0.0


class ModelDistribution:
    """Gives a model to the stores behind `link`.

    Args:
        names: returns the names of enrolled stores by node id, called at every check; None: each
            store names itself
        note: takes lines for the person who watches the server
        before: stores that have the model already
        store_status: the store status file, if no other part of the app writes it; None: it is not
            written
    """

    def __init__(
        self,
        order: DeliverOrder,
        connection: GridConnection,
        names: Callable[[], Mapping[int, str]] | None,
        note: Callable[[str], None],
        before: Collection[str] = (),
        store_status: StoreStatusFile | None = None,
    ) -> None:
        self._order = order
        self._connection = connection
        self._names = names
        self._note = note
        self._content = encode_order(order)
        self._offer = encode_order(order.offer())
        self._nodes: dict[int, _Known] = {}
        # a message's `about`: True for an offer, without the model's bytes
        self._outbox = Outbox[bool](connection)
        self._online: frozenset[int] = frozenset()
        self._refreshed = float("-inf")
        self._delivered: set[str] = set(before)
        self._store_status = store_status or StoreStatusFile(None)

    def give(
        self, until: Callable[[], bool], awaited: Callable[[], Collection[str] | None] | None = None
    ) -> Distributed:
        """Give the model until all have it, or `until` returns True.

        Args:
            awaited: returns the names of the stores to wait for, connected or not, or None while
                they are not known yet; None: the connected stores are waited for
        """
        while True:
            self._offer_to_new()
            if self._is_done(awaited) or until():
                return self._outcome((awaited() if awaited else None) or ())
            self._outbox.probe_silent()
            for store in self._read_receipts():
                # with many stores the summary at the end has to do
                if len(self._nodes) <= MAX_STORES_IN_LINE:
                    self._note(f"{store} has the model of run {self._order.run}.")
            for lost in self._outbox.take_missing():
                self._send(lost.node_id, is_offer=lost.about)
            if self._outbox.waiting:
                time.sleep(REPLIES_POLL_SECONDS)
            elif not self._is_done(awaited):
                time.sleep(PRESENCE_CHECK_SECONDS / 2)

    def _is_done(self, awaited: Callable[[], Collection[str] | None] | None) -> bool:
        if awaited is None:
            return all(self._nodes[node_id].settled for node_id in self._online)
        refused = {node.store for node in self._nodes.values() if node.is_refused}
        stores = awaited()
        return stores is not None and set(stores) <= self._delivered | refused

    def _outcome(self, awaited: Collection[str]) -> Distributed:
        """Return the outcome; enrolled or `awaited` stores that were not connected are missing."""
        enrolled = set(self._names().values()) if self._names else set[str]()
        known = {node.store: node for node in self._nodes.values() if node.store}
        missing = dict.fromkeys(enrolled | set(awaited), AWAY)
        refused = dict[str, str]()
        for node_id, node in self._nodes.items():
            if node.store and node_id in self._online:
                missing[node.store] = node.why
        for store, node in known.items():
            if node.is_refused:
                refused[store] = node.why
        missing = {
            name: why
            for name, why in missing.items()
            if name not in self._delivered | refused.keys()
        }
        return Distributed(
            self._order.sha256,
            frozenset(self._delivered),
            refused,
            missing,
            self._order.envelope_sha256,
        )

    def _offer_to_new(self) -> None:
        """Offer the model to connected nodes that have not been asked."""
        now = time.monotonic()
        if now - self._refreshed < PRESENCE_CHECK_SECONDS:
            return
        self._refreshed = now
        names = self._names() if self._names else None
        online = self._connection.nodes()
        before = self._online
        self._online = frozenset(online if names is None else online & names.keys())
        for node_id in before - self._online:
            self._show(self._nodes[node_id], "away", AWAY)
        self._outbox.drop(
            [
                message_id
                for message_id, sent in self._outbox.waiting.items()
                if sent.node_id not in self._online
            ]
        )
        busy = {sent.node_id for sent in self._outbox.waiting.values()}
        for node_id in sorted(self._online):
            node = self._nodes.setdefault(node_id, _Known())
            node.store = names[node_id] if names is not None else node.store
            self._show(node, "ready")
            if node_id not in busy and now >= node.offer_at:
                # a store that has it already need not get many bytes again
                self._send(node_id, is_offer=self._order.size > MAX_UNOFFERED_BYTES)

    def _show(self, node: _Known, state: State, why: str = "") -> None:
        if node.store:
            self._store_status.put(node.store, state, why)

    def _send(self, node_id: int, *, is_offer: bool) -> None:
        content = self._offer if is_offer else self._content
        self._outbox.send(content, MessageType.QUERY, {node_id: is_offer}, self._connection.ttl)

    def _read_receipts(self) -> Iterator[str]:
        """Take the stores' answers, and yield the names of those that have the model now."""
        for sent, reply in self._outbox.pull():
            node = self._nodes[sent.node_id]
            match result := read(reply, node.store):
                case ModelReceipt(sha256=self._order.sha256, is_kept=True):
                    node.store = result.store
                    node.settled = True
                    # a store that comes back has it: nothing is offered again in this run
                    node.offer_at = float("inf")
                    self._delivered.add(result.store)
                    yield result.store
                case ModelReceipt(sha256=self._order.sha256) if sent.about:
                    node.store = result.store
                    self._send(sent.node_id, is_offer=False)
                case Failure():
                    self._record_failure(node, result)
                case _:
                    self._record_failure(
                        node,
                        Failure(node.store, "invalid", "gave an answer to another order"),
                    )

    def _record_failure(self, node: _Known, failure: Failure) -> None:
        """Record why a store does not have the model.

        It is offered again later unless the store refused for good.
        """
        node.store = node.store or failure.store
        node.settled = True
        node.why = failure.reason
        node.is_refused = (
            failure.code == "policy" and failure.retry_after >= MAX_RETRY_AFTER_SECONDS
        )
        wait = float("inf") if node.is_refused else max(failure.retry_after, OFFER_RETRY_SECONDS)
        node.offer_at = time.monotonic() + wait
        self._note(
            f"{node.store or 'A store'} does not have the model of run {self._order.run}:"
            f" {failure.reason}."
        )
