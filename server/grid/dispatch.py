"""Dispatch of one order to stores and collection of the answers, even if messages get lost."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from flwr.app import Message, MessageType

from fedshelf.common import strategies
from fedshelf.common.errors import StoppedError
from fedshelf.common.protocol.messages import EvaluateOrder, Failure, SumPart, TrainOrder
from fedshelf.common.protocol.secure_sum import SumOrder
from fedshelf.common.protocol.serialization import FrozenWeightsMissing, Result, encode_order
from fedshelf.common.protocol.transfer_progress import format_progress
from fedshelf.server.answer_deadline import AnswerDeadline
from fedshelf.server.grid.connection import GONE, GridConnection, read
from fedshelf.server.grid.outbox import Outbox, Sent
from fedshelf.server.grid.store_registry import StoreRegistry
from fedshelf.server.ipc.store_status import State, StoreStatusFile

# seconds between two polls for all answers, growing to a tenth of the time waited ...
MIN_REPLIES_POLL_SECONDS = 0.05
MAX_REPLIES_POLL_SECONDS = 1.0  # ... and to no more than this
# the same if the gateway records which answers are complete
MIN_POLL_ALL_SECONDS = 2.0
MAX_POLL_ALL_SECONDS = 5.0
# Pause between two polls of the gateway's record, growing to a hundredth of the time waited ...
MIN_GATEWAY_POLL_SECONDS = 0.01
MAX_GATEWAY_POLL_SECONDS = 0.1  # ... and to no more than this
# least seconds that a store may be away in the middle of its answer; else as long as it has taken
# so far
MIN_UPLOAD_GRACE_SECONDS = 10.0
PRESENCE_CHECK_SECONDS = 2.0  # seconds between two checks of the connected stores
BYTES_PER_FLOAT = 4
_MESSAGE_TYPES = {
    TrainOrder: MessageType.TRAIN,
    EvaluateOrder: MessageType.EVALUATE,
    SumOrder: MessageType.QUERY,
}
# times that an order is sent to a store that loses it each time: then something is wrong there
MAX_RESENDS = 20
# times that frozen parameters are sent to one store with an order: they rarely get lost
MAX_FROZEN_SENDS = 3


class OrderDispatch:
    """An order that some stores still have to answer.

    A store that turns out not to have it gets it again.

    Args:
        parts: a part of an order to train for each store; None: all get the same
    """

    def __init__(
        self,
        order: TrainOrder | EvaluateOrder | SumOrder,
        connection: GridConnection,
        registry: StoreRegistry,
        store_status: StoreStatusFile,
        ttl: float,
        parts: Mapping[str, SumPart] | None = None,
    ) -> None:
        self.order = order
        self._parts = parts
        self._ttl = ttl
        self._connection = connection
        self._registry = registry
        self._store_status = store_status
        self._outbox = Outbox[str](connection)  # a message's `about` is its store
        self._pending = self._outbox.waiting
        # message -> time at which its store went away in mid-answer
        self._silent_since: dict[str, float] = {}
        self._unreached: list[Failure] = []
        self._frozen_sent = Counter[str]()
        self._resent = Counter[str]()
        self._checked = time.monotonic()
        self._poll_all_at = 0.0
        self.is_posted = False
        self._size = 0 if isinstance(order, SumOrder) else order.params.numel() * BYTES_PER_FLOAT

    def post(self, stores: Collection[str], *, attach_frozen: bool = False) -> None:
        """Send the order to `stores`."""
        self.is_posted = True
        node_ids = self._registry.nodes()
        nodes = {store: node_ids.get(store) for store in stores}
        self._unreached += [
            Failure(name, "unavailable", "not connected")
            for name, node_ids in nodes.items()
            if node_ids is None
        ]
        reached = {store: node_id for store, node_id in nodes.items() if node_id is not None}
        gone = list[str]()
        for order, receivers in self._orders(reached):
            content = encode_order(order, attach_frozen=attach_frozen)
            nodes_of_order = {reached[store]: store for store in receivers}
            gone += self._outbox.send(
                content, _MESSAGE_TYPES[type(order)], nodes_of_order, self._ttl
            )
        state: State = "evaluating" if isinstance(self.order, EvaluateOrder) else "training"
        for store in reached.keys() - {*gone}:
            self._store_status.put(store, state, round=self.order.round)
        # the outbox knows at once which nodes are no longer registered
        if gone:
            self._post_to_moved(
                {store: reached[store] for store in gone}, attach_frozen=attach_frozen
            )

    def _orders(
        self, stores: Collection[str]
    ) -> Iterator[tuple[TrainOrder | EvaluateOrder | SumOrder, Collection[str]]]:
        """Yield the orders for stores, each with those that get it."""
        if self._parts is None:
            yield self.order, stores
            return
        assert not isinstance(self.order, SumOrder)
        for store in stores:
            yield replace(self.order, secure_sum=self._parts[store]), [store]

    def _post_to_moved(self, gone: Mapping[str, int], *, attach_frozen: bool) -> None:
        """Send the order to stores that came back as other nodes since the last check.

        Args:
            gone: store -> the node that it was
        """
        self._registry.refresh()
        moved = [
            store
            for store, node_id in gone.items()
            if self._registry.node(store) not in (None, node_id)
        ]
        self._unreached += [
            Failure(name, "unavailable", "not connected") for name in gone if name not in moved
        ]
        if moved:
            self.post(moved, attach_frozen=attach_frozen)

    def restrict_to(self, stores: Collection[str]) -> None:
        """Expect answers of exactly these stores.

        Other stores are dropped, and the order is sent to those that lack it.
        """
        self._outbox.drop(
            [identity for identity, sent in self._pending.items() if sent.about not in stores]
        )
        self._unreached.clear()
        self.post(set(stores) - {sent.about for sent in self._pending.values()})

    def answers(self, deadline: AnswerDeadline) -> Iterator[Result]:
        """Yield one answer per store as they arrive, and a Failure for each store without one.

        Raises:
            StoppedError: a request to stop ends the wait for updates: half a round is of no use
        """
        self._poll_all_at = (
            deadline.began + MIN_POLL_ALL_SECONDS
            if self._connection.has_upload_log
            else deadline.began
        )
        while self._pending or self._unreached:
            yield from self._pop_unreached()
            if self._pending and deadline.is_over():
                yield from self._expire(deadline)
                return
            self._check_in_flight()
            for sent, reply in self._outbox.pull(self._replies_due(deadline.waited()), self._size):
                yield from self._handle_reply(sent, reply)
            self._post_missing()
            if self._pending and not self._unreached:
                time.sleep(
                    min(
                        max(0.01 * deadline.waited(), MIN_GATEWAY_POLL_SECONDS),
                        MAX_GATEWAY_POLL_SECONDS,
                    )
                )

    def _expire(self, deadline: AnswerDeadline) -> Iterator[Failure]:
        """Yield a Failure for each store that has not answered, and withdraw their orders.

        Raises StoppedError.
        """
        why = deadline.reason()
        self._connection.withdraw(self._pending)
        # an evaluation that is cut short still counts, half a training round does not
        if deadline.is_cut() and not isinstance(self.order, EvaluateOrder):
            out = ", ".join(sorted(sent.about for sent in self._pending.values()))
            raise StoppedError(f"{out}: {why}")
        yield from (Failure(sent.about, "timeout", why) for sent in self._pending.values())

    def _replies_due(self, waited: float) -> Collection[str]:
        """Return the messages whose answers to poll for: complete ones, and now and then all.

        An answer may be there without a record of the gateway. So all are also polled before an
        order is sent again.
        """
        now = time.monotonic()
        if now < self._poll_all_at and not self._outbox.has_missing():
            return self._connection.complete(self._pending)
        least, most = (
            (MIN_POLL_ALL_SECONDS, MAX_POLL_ALL_SECONDS)
            if self._connection.has_upload_log
            else (MIN_REPLIES_POLL_SECONDS, MAX_REPLIES_POLL_SECONDS)
        )
        self._poll_all_at = now + min(max(0.1 * waited, least), most)
        return self._pending

    def _pop_unreached(self) -> Iterator[Failure]:
        while self._unreached:
            yield self._unreached.pop()

    def _handle_reply(self, sent: Sent[str], reply: Message) -> Iterator[Result]:
        """Yield the result of a reply, or send the order again.

        It is sent again if it got lost or the store lacks the frozen weights.
        """
        store = sent.about
        is_gone = reply.has_error() and reply.error.code == GONE
        # the store has come back as another node
        if is_gone and self._registry.node(store) not in (None, sent.node_id):
            self.post([store])
            return
        result = read(reply, store, None if isinstance(self.order, SumOrder) else self.order)
        if isinstance(result, FrozenWeightsMissing):
            if self.order.plan.frozen is not None and self._frozen_sent[store] < MAX_FROZEN_SENDS:
                self._frozen_sent[store] += 1
                self.post([store], attach_frozen=True)
                return
            result = Failure(store, "invalid", "asks again and again for frozen parameters")
        # it rests (its policy has hours and budgets), and is asked again after that
        if isinstance(result, Failure) and result.retry_after:
            self._registry.defer(result)
        else:
            self._store_status.put(store, "ready")
        yield result

    def _check_in_flight(self) -> None:
        """Detect orders that a store has lost, and mark them for resending."""
        now = time.monotonic()
        if now - self._checked < PRESENCE_CHECK_SECONDS:
            return
        self._registry.refresh()
        self._checked = now
        self._expire_partial_uploads(now)
        self._show_transfer_progress()
        node_ids = self._registry.nodes()
        for sent in self._pending.values():
            # it has come back as another node
            sent.is_missing |= node_ids.get(sent.about, sent.node_id) != sent.node_id
        self._outbox.probe_silent()

    def _expire_partial_uploads(self, now: float) -> None:
        """Give up stores that died in the middle of their answer.

        Flower reports a lost connection only for a store that has sent nothing of its answer.
        """
        for identity in self._connection.begun(self._pending):
            sent = self._pending[identity]
            if self._registry.node(sent.about) is not None:
                self._silent_since.pop(identity, None)
            elif now - (silent := self._silent_since.setdefault(identity, now)) > max(
                MIN_UPLOAD_GRACE_SECONDS, silent - sent.sent
            ):
                self._outbox.drop([identity])
                self._unreached.append(Failure(sent.about, "unavailable", "lost the connection"))

    def _show_transfer_progress(self) -> None:
        """Show the progress of long transfers.

        The size of a compressed update is not known here, nor that of sums in closed form.
        """
        flows = self._connection.flows()
        config = self.order.plan.config
        is_packed = config.messages.compression != "none"
        is_unknown = is_packed or strategies.find(config.strategy.name).closed_form
        for sent in self._pending.values():
            if (flow := flows.get(sent.node_id)) is None:
                continue
            # 0: the progress is told without a share of the whole
            size = 0 if flow.way == "up" and is_unknown else self._size
            progress = format_progress(
                min(flow.bytes, size or flow.bytes), size, flow.last - flow.since
            )
            self._store_status.explain(
                sent.about,
                f"{'sending its answer' if flow.way == 'up' else 'receiving'}: {progress}",
            )

    def _post_missing(self) -> None:
        """Send missing orders again, at most MAX_RESENDS times for each store."""
        missing = [sent.about for sent in self._outbox.take_missing()]
        self._resent.update(missing)
        lost = [store for store in missing if self._resent[store] == MAX_RESENDS]
        self._unreached += [
            Failure(name, "timeout", f"lost its order {MAX_RESENDS} times") for name in lost
        ]
        self.post(set(missing) - set(lost))
