"""The runtime over Flower: stores reached through a Grid, by its public methods alone.

The same code serves the deployment (SuperLink and stores) and Flower's own simulation. Whatever a
store or the network does becomes a Failure; nothing here raises because of a store.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from common.config import RunConfig, flatten, resolve
from common.errors import FedshelfError
from common.messages import NeedsFrozen, Notice, Query, Result, decode_result, encode_order
from common.naming import check_store_name
from common.orders import EvaluateOrder, Evaluation, Failure, FailureCode, StoreInfo, TrainOrder, Update

POLL = 0.25  # seconds between two looks for answers, growing to a tenth of the time waited ...
SLOWEST_POLL = 1.0  # ... and to no more than this
GHOST = 30.0  # seconds: a killed store's old registration is gone by then (two heartbeats of 10 s)
_LONGEST_REASON = 300  # characters of a store's words that go into the history
_FLOWER_ERRORS: dict[int, tuple[FailureCode, str]] = {  # flwr.common.constant.ErrorCode, which is private
    3: ("timeout", "no answer in time"),
    4: ("timeout", "its answer was lost on the way"),
    5: ("unavailable", "lost the connection"),
}

Answer = TypeVar("Answer", Update, Evaluation)


@dataclass
class _Node:
    """A registration and what is known of the store behind it."""

    seen: float
    query: str | None
    info: StoreInfo | None = None
    refused: bool = False


@dataclass
class _Errand:
    """Messages of one order that still lack an answer: message id -> store."""

    order: TrainOrder | EvaluateOrder
    deadline: float
    pending: dict[str, str] = field(default_factory=dict)


class GridRuntime:
    """A `server.runtime.Runtime` over `grid`.

    config: what stores are asked about, and how long answers may take (`cohort.timeout`)
    note:   takes lines for the person who watches the server
    ghost:  seconds for which a second store of one name may be the first one come back
    """

    def __init__(
        self, grid: Grid, config: RunConfig, run_id: str, note: Callable[[str], None], ghost: float = GHOST
    ) -> None:
        self._grid, self._config, self._run_id, self._note = grid, config, run_id, note
        self._ghost = ghost
        self._nodes: dict[int, _Node] = {}

    def stores(self) -> Mapping[str, StoreInfo]:
        """The stores present now, by name. New ones appear once they have said what they hold."""
        online = set(self._grid.get_node_ids())
        self._nodes = {node_id: node for node_id, node in self._nodes.items() if node_id in online}
        for node_id in sorted(online - self._nodes.keys()):
            query = self._send(node_id, Query(self._run_id, for_stores(self._config)))
            self._nodes[node_id] = _Node(time.monotonic(), query)
        self._hear()
        self._settle_names()
        return {node.info.name: node.info for node in self._accepted().values() if node.info}

    def expect(self, order: TrainOrder, stores: Sequence[str]) -> None:
        """Nothing: a store works on one order at a time."""

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterable[Update | Failure]:
        """One answer per store, as they arrive; a Failure for each that gave none in `cohort.timeout` seconds."""
        return self._carry_out(order, stores, Update)

    def evaluate(self, order: EvaluateOrder, stores: Sequence[str]) -> Iterable[Evaluation | Failure]:
        """One answer per store, as they arrive; a Failure for each that gave none in `cohort.timeout` seconds."""
        return self._carry_out(order, stores, Evaluation)

    def tell(self, text: str, wait: float = 5.0) -> None:
        """Show `text` to the people who run the stores; waits at most `wait` seconds until they have it."""
        sent = {self._send(node_id, Notice(text)) for node_id in self._nodes} - {None}
        deadline = time.monotonic() + wait
        while sent and time.monotonic() < deadline:
            time.sleep(POLL)
            for reply in self._grid.pull_messages([identity for identity in sent if identity]):
                sent.discard(reply.metadata.reply_to_message_id)

    # ------------------------------------------------------------------ who is there

    def _send(self, node_id: int, order: Query | Notice) -> str | None:
        """The message's id, or None if it could not be sent."""
        message = Message(encode_order(order), node_id, MessageType.QUERY, ttl=self._config.cohort.timeout)
        return next(iter(self._grid.push_messages([message])), None)

    def _hear(self) -> None:
        """Take in what new nodes answered to the query."""
        asked = {node.query: node_id for node_id, node in self._nodes.items() if node.query}
        for reply in self._grid.pull_messages(list(asked)) if asked else ():
            node = self._nodes[asked[reply.metadata.reply_to_message_id]]
            node.query = None
            match _read(reply, ""):
                case StoreInfo() as info:
                    node.info = info
                case Failure() as failure:
                    self._refuse(node, f"{failure.store or 'A store'} cannot take part: {failure.reason}.")
                case _:
                    self._refuse(node, "A store answered something else than what it holds.")

    def _settle_names(self) -> None:
        """Refuse names that cannot be used, and the later one of two equal names once it is no ghost's."""
        holders = {node.info.name: node for node in self._accepted().values() if node.info}
        for node_id, node in self._nodes.items():
            if node.info is None or node.refused or holders.get(node.info.name) is node:
                continue
            if time.monotonic() - node.seen > self._ghost:
                name = node.info.name
                self._refuse(node, f"A second store named {name!r} is refused.")
                self._send(node_id, Notice(f"Another store has joined as {name!r}; join again under another --name."))

    def _refuse(self, node: _Node, why: str) -> None:
        node.refused = True
        self._note(why)

    def _accepted(self) -> dict[int, _Node]:
        """The nodes that stand for a store: of each name the one that was seen first."""
        firsts: dict[str, int] = {}
        for node_id, node in self._nodes.items():
            if node.info is not None and not node.refused:
                firsts.setdefault(node.info.name, node_id)
        return {node_id: self._nodes[node_id] for node_id in firsts.values()}

    # ------------------------------------------------------------------ orders and answers

    def _carry_out(
        self, order: TrainOrder | EvaluateOrder, stores: Sequence[str], kind: type[Answer]
    ) -> Iterator[Answer | Failure]:
        timeout = self._config.cohort.timeout
        errand = _Errand(order, time.monotonic() + timeout)
        yield from self._push(errand, stores, attach_frozen=False)
        began = time.monotonic()
        while errand.pending:
            if time.monotonic() > errand.deadline:
                for store in errand.pending.values():
                    yield Failure(store, "timeout", f"no answer within {timeout:g} s")
                return
            for reply in self._grid.pull_messages(list(errand.pending)):
                answered = reply.metadata.reply_to_message_id  # the sender's id is the link's if a node died
                if answered not in errand.pending:
                    continue
                store = errand.pending.pop(answered)
                result = _read(reply, store, errand.order)
                if isinstance(result, NeedsFrozen):
                    yield from self._push(errand, [store], attach_frozen=True)
                elif isinstance(result, kind | Failure):
                    yield result
                else:
                    yield Failure(store, "invalid", f"answered with {type(result).__name__}")
            if errand.pending:
                time.sleep(min(max(0.1 * (time.monotonic() - began), POLL), SLOWEST_POLL))

    def _push(self, errand: _Errand, stores: Sequence[str], *, attach_frozen: bool) -> Iterator[Failure]:
        """Send the errand's order to `stores`; a Failure for each that cannot be reached."""
        nodes = {node.info.name: node_id for node_id, node in self._accepted().items() if node.info}
        reachable = [store for store in stores if store in nodes]
        plan = replace(errand.order.plan, config=for_stores(errand.order.plan.config))
        content = encode_order(replace(errand.order, plan=plan), attach_frozen=attach_frozen)
        kind = MessageType.TRAIN if isinstance(errand.order, TrainOrder) else MessageType.EVALUATE
        ttl = max(errand.deadline - time.monotonic(), 1.0)  # a store must not work on what nobody waits for
        messages = [Message(content, nodes[store], kind, ttl=ttl) for store in reachable]
        sent = dict(zip(reachable, self._grid.push_messages(messages) if messages else (), strict=False))
        for store in stores:
            if identity := sent.get(store):
                errand.pending[identity] = store
            else:
                yield Failure(store, "unavailable", "not connected")


def for_stores(config: RunConfig) -> RunConfig:
    """The configuration without the server's own files, which are nobody else's business."""
    return resolve(flatten(config), {"run.out": "", "evaluation.test_data": "", "model.weights": "none"})


def _read(reply: Message, store: str, order: TrainOrder | EvaluateOrder | None = None) -> Result:
    """What a reply says; errors of Flower's, and results that cannot be read, become failures of `store`."""
    if reply.has_error():
        unknown: tuple[FailureCode, str] = ("error", f"could not run the order (Flower's error {reply.error.code})")
        return Failure(store, *_FLOWER_ERRORS.get(reply.error.code, unknown))
    try:
        result = decode_result(reply.content, order)
        name = result.name if isinstance(result, StoreInfo) else result.store
        check_store_name(name)
    except FedshelfError as error:
        return Failure(store, "invalid", str(error)[:_LONGEST_REASON])
    if store and name != store:
        return Failure(store, "invalid", f"answered as {name!r}")
    return result
