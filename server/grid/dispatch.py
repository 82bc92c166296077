"""Dispatch of one order to stores and collection of the answers, even if messages get lost."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from flwr.app import Message, MessageType

from fedshelf.common.errors import StoppedError
from fedshelf.common.protocol.messages import EvaluateOrder, Failure, TrainOrder
from fedshelf.common.protocol.serialization import FrozenWeightsMissing, Result, encode_order
from fedshelf.common.protocol.transfer_progress import format_progress
from fedshelf.server.grid.connection import GONE, GridConnection, read
from fedshelf.server.grid.outbox import Outbox, Sent
from fedshelf.server.grid.store_registry import StoreRegistry
from fedshelf.server.ipc.store_status import StoreStatusFile
from fedshelf.server.patience import Patience

# seconds between two polls for all answers, growing to a tenth of the time waited ...
MIN_REPLIES_POLL_SECONDS = 0.05
SLOWEST_POLL = 1.0  # ... and to no more than this
# the same if the gateway records which answers are complete
TOLD_POLL = 2.0
SLOWEST_TOLD_POLL = 5.0
# Pause between two polls of the gateway's record, growing to a hundredth of the time waited ...
MIN_GATEWAY_POLL_SECONDS = 0.01
SLOWEST_LOOK = 0.1  # ... and to no more than this
# least seconds that a store may be away in the middle of its answer; else as long as it has taken
# so far
GRACE = 10.0
PRESENCE_CHECK_SECONDS = 2.0  # seconds between two checks of the connected stores
BYTES_PER_FLOAT = 4
# times that an order is sent to a store that loses it each time: then something is wrong there
MOST_SENDINGS = 20
# times that frozen parameters are sent to one store with an order: they rarely get lost
MOST_FROZEN = 3


class OrderDispatch:
    """An order that some stores still have to answer; a store that turns out not to have it gets it
    again.
    """

    def __init__(
        self,
        order: TrainOrder | EvaluateOrder,
        link: GridConnection,
        roster: StoreRegistry,
        board: StoreStatusFile,
        ttl: float,
    ) -> None:
        self.order = order
        self._ttl = ttl
        self._link = link
        self._roster = roster
        self._board = board
        self._out = Outbox[str](link)  # a message's `about` is its store
        self._pending = self._out.waiting
        # message -> time at which its store went away in mid-answer
        self._silent: dict[str, float] = {}
        self._unreached: list[Failure] = []
        self._attached = Counter[str]()
        self._sendings = Counter[str]()
        self._looked = time.monotonic()
        self._all_at = 0.0
        self.is_posted = False
        self._size = order.params.numel() * BYTES_PER_FLOAT

    def post(self, stores: Collection[str], *, attach_frozen: bool = False) -> None:
        """Send the order to `stores`."""
        self.is_posted = True
        at = self._roster.nodes()
        nodes = {store: at.get(store) for store in stores}
        self._unreached += [
            Failure(name, "unavailable", "not connected")
            for name, at in nodes.items()
            if at is None
        ]
        reached = {store: node_id for store, node_id in nodes.items() if node_id is not None}
        is_training = isinstance(self.order, TrainOrder)
        content = encode_order(self.order, attach_frozen=attach_frozen)
        kind = MessageType.TRAIN if is_training else MessageType.EVALUATE
        gone = self._out.send(
            content, kind, {node_id: store for store, node_id in reached.items()}, self._ttl
        )
        for store in reached.keys() - {*gone}:
            self._board.put(
                store, "training" if is_training else "evaluating", round=self.order.round
            )
        if gone:
            self._post_elsewhere(
                {store: reached[store] for store in gone}, attach_frozen=attach_frozen
            )

    def _post_elsewhere(self, gone: Mapping[str, int], *, attach_frozen: bool) -> None:
        """Send the order to stores that came back as other nodes since the last check.

        gone: store -> the node that it was
        """
        self._roster.look()
        moved = [
            store
            for store, node_id in gone.items()
            if self._roster.node(store) not in (None, node_id)
        ]
        self._unreached += [
            Failure(name, "unavailable", "not connected") for name in gone if name not in moved
        ]
        if moved:
            self.post(moved, attach_frozen=attach_frozen)

    def limit_to(self, stores: Collection[str]) -> None:
        """Expect answers of exactly these stores: drop the others, send the order to those that
        lack it.
        """
        self._out.drop(
            [identity for identity, sent in self._pending.items() if sent.about not in stores]
        )
        self._unreached.clear()
        self.post(set(stores) - {sent.about for sent in self._pending.values()})

    def answers(self, patience: Patience) -> Iterator[Result]:
        """Yield one answer per store as they arrive, and a Failure for each store that gave none in
        time.

        Raises StoppedError if a request to stop ends the wait for updates: half a round is of no
        use.
        """
        self._all_at = patience.began + TOLD_POLL if self._link.is_told else patience.began
        while self._pending or self._unreached:
            yield from self._pop_unreached()
            if self._pending and patience.is_over():
                yield from self._give_up(patience)
                return
            self._look_after()
            for sent, reply in self._out.pull(self._worth_asking(patience.waited()), self._size):
                yield from self._take(sent, reply)
            self._post_missing()
            if self._pending and not self._unreached:
                time.sleep(
                    min(max(0.01 * patience.waited(), MIN_GATEWAY_POLL_SECONDS), SLOWEST_LOOK)
                )

    def _give_up(self, patience: Patience) -> Iterator[Failure]:
        """Yield a Failure for each store that has not answered, and withdraw their orders.

        Raises StoppedError.
        """
        why = patience.told()
        self._link.withdraw(self._pending)
        if patience.is_cut() and isinstance(self.order, TrainOrder):
            out = ", ".join(sorted(sent.about for sent in self._pending.values()))
            raise StoppedError(f"{out}: {why}")
        yield from (Failure(sent.about, "timeout", why) for sent in self._pending.values())

    def _worth_asking(self, waited: float) -> Collection[str]:
        """Return the messages whose answers to poll for: complete ones, and now and then all.

        An answer may be there without a record of the gateway. So all are also polled before an
        order is sent again.
        """
        now = time.monotonic()
        if now < self._all_at and not self._out.has_missing():
            return self._link.complete(self._pending)
        least, most = (
            (TOLD_POLL, SLOWEST_TOLD_POLL)
            if self._link.is_told
            else (MIN_REPLIES_POLL_SECONDS, SLOWEST_POLL)
        )
        self._all_at = now + min(max(0.1 * waited, least), most)
        return self._pending

    def _pop_unreached(self) -> Iterator[Failure]:
        while self._unreached:
            yield self._unreached.pop()

    def _take(self, sent: Sent[str], reply: Message) -> Iterator[Result]:
        """Yield the result of a reply, or send the order again if it got lost or the store lacks
        the frozen weights.
        """
        store = sent.about
        is_gone = reply.has_error() and reply.error.code == GONE
        # the store has come back as another node
        if is_gone and self._roster.node(store) not in (None, sent.node_id):
            self.post([store])
            return
        result = read(reply, store, self.order)
        if isinstance(result, FrozenWeightsMissing):
            if self.order.plan.frozen is not None and self._attached[store] < MOST_FROZEN:
                self._attached[store] += 1
                self.post([store], attach_frozen=True)
                return
            result = Failure(store, "invalid", "asks again and again for frozen parameters")
        if isinstance(result, Failure) and result.rest:
            self._roster.defer(result)
        else:
            self._board.put(store, "ready")
        yield result

    def _look_after(self) -> None:
        """Detect orders that a store has lost, and mark them for resending."""
        now = time.monotonic()
        if now - self._looked < PRESENCE_CHECK_SECONDS:
            return
        self._roster.look()
        self._looked = now
        self._give_up_halves(now)
        self._show_transfers()
        at = self._roster.nodes()
        for sent in self._pending.values():
            # it has come back as another node
            sent.is_missing |= at.get(sent.about, sent.node_id) != sent.node_id
        self._out.look_after()

    def _give_up_halves(self, now: float) -> None:
        """Give up stores that died in the middle of their answer.

        Flower reports a lost connection only for a store that has sent nothing of its answer.
        """
        for identity in self._link.begun(self._pending):
            sent = self._pending[identity]
            if self._roster.node(sent.about) is not None:
                self._silent.pop(identity, None)
            elif now - (silent := self._silent.setdefault(identity, now)) > max(
                GRACE, silent - sent.sent
            ):
                self._out.drop([identity])
                self._unreached.append(Failure(sent.about, "unavailable", "lost the connection"))

    def _show_transfers(self) -> None:
        """Show the progress of long transfers. The size of a compressed update is not known."""
        flows = self._link.flows()
        is_packed = self.order.plan.config.messages.compression != "none"
        for sent in self._pending.values():
            if (flow := flows.get(sent.node_id)) is None:
                continue
            size = 0 if flow.way == "up" and is_packed else self._size
            far = format_progress(min(flow.bytes, size or flow.bytes), size, flow.last - flow.since)
            self._board.explain(
                sent.about, f"{'sending its answer' if flow.way == 'up' else 'receiving'}: {far}"
            )

    def _post_missing(self) -> None:
        """Send missing orders again, at most MOST_SENDINGS times for each store."""
        missing = [sent.about for sent in self._out.take_missing()]
        self._sendings.update(missing)
        lost = [store for store in missing if self._sendings[store] == MOST_SENDINGS]
        self._unreached += [
            Failure(name, "timeout", f"lost its order {MOST_SENDINGS} times") for name in lost
        ]
        self.post(set(missing) - set(lost))
