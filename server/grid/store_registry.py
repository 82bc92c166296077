"""Registry of the stores behind a grid's nodes.

It has the data they hold, and which of them may be asked.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fedshelf.common.protocol.failures import MAX_RETRY_AFTER_SECONDS
from fedshelf.common.protocol.messages import Failure, StoreInfo
from fedshelf.common.protocol.serialization import Notice, Query
from fedshelf.server.grid.connection import GridConnection, read
from fedshelf.server.ipc.store_status import StoreStatusFile

RECONNECT_GRACE_SECONDS = (
    30.0  # seconds: a killed store's old registration is gone by then (two heartbeats of 10 s)
)
# seconds until a store is asked again for its data; the question may be lost
QUERY_TIMEOUT_SECONDS = 10.0
# queries to a store that may still be answered: one that is silent for weeks is asked every 10 s
MAX_UNANSWERED_QUERIES = 12
STORE_RETRY_SECONDS = 60.0  # seconds until a store that cannot take part is asked once more


@dataclass
class _Node:
    """A registration, and the facts about the store behind it.

    Times are values of time.monotonic().

    Attributes:
        queries: ids of the last unanswered queries; a slow store answers when it has been asked
            again already
        is_outdated: its data differs from `info`
        failure: the reason why it cannot take part, from its last answer
    """

    seen: float
    queries: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_UNANSWERED_QUERIES))
    ask_at: float = 0.0
    info: StoreInfo | None = None
    is_outdated: bool = False
    failure: Failure | None = None
    refused: bool = False


class StoreRegistry:
    """The stores of one run.

    Args:
        enrolled: returns the names of enrolled stores by node id, called at every check; None: each
            store names itself
        reconnect_grace: seconds in which a second node with a known store name is treated as the
            old store reconnecting; after that, it is refused as a duplicate
    """

    def __init__(
        self,
        connection: GridConnection,
        query: Query,
        note: Callable[[str], None],
        store_status: StoreStatusFile,
        enrolled: Callable[[], Mapping[int, str]] | None = None,
        reconnect_grace: float = RECONNECT_GRACE_SECONDS,
    ) -> None:
        self._connection = connection
        self._query = query
        self._note = note
        self._store_status = store_status
        self._enrolled = enrolled
        self._reconnect_grace = reconnect_grace
        self._nodes: dict[int, _Node] = {}
        self._resting: dict[str, float] = {}
        self._rest_reasons: dict[str, str] = {}  # store -> reason of its present or last rest
        self._coming_back: dict[str, float] = {}
        self._excluded: set[str] = set()
        self._noted: set[str] = set()
        self._refreshed = float("-inf")

    def refresh(self, fresh: float = 0.0) -> None:
        """Update the registry: nodes that came, that left, and new answers.

        It does nothing if the last update is at most `fresh` seconds old.
        """
        if time.monotonic() - self._refreshed < fresh:
            return
        self._refreshed = time.monotonic()
        online = self._connection.nodes()
        names = self._enrolled() if self._enrolled else None
        known = online if names is None else online & names.keys()
        for node_id in self._nodes.keys() - known:
            self._mark_gone(self._nodes.pop(node_id))
        for node_id in sorted(known):
            node = self._nodes.setdefault(node_id, _Node(time.monotonic()))
            is_known = node.info is not None and not node.is_outdated
            if not is_known and not node.refused and time.monotonic() >= node.ask_at:
                if (identity := self._connection.ask(node_id, self._query)) is not None:
                    node.queries.append(identity)
                node.ask_at = time.monotonic() + QUERY_TIMEOUT_SECONDS
        self._read_replies(names)
        self._refuse_duplicates()
        self._store_status.flush()

    def present(self) -> dict[str, StoreInfo]:
        """Return the stores that may be asked, by name."""
        now = time.monotonic()
        infos = {node.info.name: node.info for node in self._accepted().values() if node.info}
        return {name: info for name, info in infos.items() if self._resting.get(name, now) <= now}

    def node(self, store: str) -> int | None:
        """Return the node that stands for a store now, or None."""
        return self.nodes().get(store)

    def nodes(self) -> dict[str, int]:
        """Return {store: the node that stands for it now}.

        Callers that ask for many stores use it.
        """
        return {node.info.name: node_id for node_id, node in self._accepted().items() if node.info}

    def check_images(self, store: str, num_examples: int) -> None:
        """Mark a store to be asked again, if it trained on another number of images."""
        for node in self._accepted().values():
            if node.info and node.info.name == store and node.info.num_examples != num_examples:
                node.is_outdated = True
                node.ask_at = 0.0

    def node_ids(self) -> list[int]:
        """Return all known nodes."""
        return list(self._nodes)

    def defer(self, failure: Failure) -> None:
        """Leave a store alone for as long as it asked."""
        self._resting[failure.store] = time.monotonic() + failure.retry_after
        if failure.retry_after < MAX_RETRY_AFTER_SECONDS:
            # longer ones are for good: a quorum does not wait for them
            self._coming_back[failure.store] = self._resting[failure.store]
        until = time.strftime("%H:%M", time.localtime(time.time() + failure.retry_after))
        self._rest_reasons[failure.store] = f"{failure.reason}, until {until}"
        self._store_status.put(failure.store, "resting", self._rest_reasons[failure.store])
        self._note_once(f"{failure.store} is left alone until {until}: {failure.reason}.")

    def retry_after(self) -> float:
        """Return the seconds until all resting stores may be asked again; 0: none rests.

        Stores that no waiting brings back do not count.
        """
        return max([until - time.monotonic() for until in self._coming_back.values()] + [0.0])

    def held_back(self) -> dict[str, str]:
        """Return {store: reason} for connected stores that may not be asked now."""
        now = time.monotonic()
        reasons = dict[str, str]()
        for node in self._nodes.values():
            name = node.info.name if node.info else node.failure.store if node.failure else ""
            if node.info and name in self._excluded:
                reasons[name] = "it is set aside"
            elif node.info and self._resting.get(name, now) > now:
                reasons[name] = self._rest_reasons[name]
            elif node.failure and name:
                reasons[name] = node.failure.reason
        return reasons

    def exclude(self, store: str, why: str) -> None:
        """Send a store no more orders in this run, and tell it so."""
        node_id = self.node(store)
        self._excluded.add(store)
        self._store_status.put(store, "set-aside", why)
        if node_id is not None:
            self._connection.ask(
                node_id, Notice(f"The server leaves this store out of the rest of the run: {why}")
            )

    # ------------------------------------------------------------------ answers of nodes

    def _read_replies(self, names: Mapping[int, str] | None) -> None:
        asked = {query: node_id for node_id, node in self._nodes.items() for query in node.queries}
        for reply in self._connection.pull(list(asked)):
            query = reply.metadata.reply_to_message_id
            node_id = asked[query]
            node = self._nodes[node_id]
            if query in node.queries:  # else another answer of this call has settled it
                node.queries.remove(query)
            # asked again in a while; or answered before
            if reply.has_error() or (node.info and not node.is_outdated):
                continue
            node.queries.clear()
            expected = "" if names is None else names[node_id]
            match read(reply, expected):
                case StoreInfo() as info:
                    if node.info and info.name != node.info.name:
                        continue
                    node.info = info
                    node.is_outdated = False
                    node.failure = None
                    self._store_status.put(
                        info.name, "ready", images=info.num_examples, version=info.version
                    )
                case Failure() as failure:
                    self._mark_unavailable(node, failure)
                case _:
                    self._refuse(node, "A store answered something else than what it holds.")

    def _mark_unavailable(self, node: _Node, failure: Failure) -> None:
        """Record that a store cannot take part now; it is asked again later."""
        node.ask_at = time.monotonic() + max(failure.retry_after, STORE_RETRY_SECONDS)
        node.failure = failure
        if failure.store:
            self._store_status.put(failure.store, "refused", failure.reason)
        self._note_once(f"{failure.store or 'A store'} cannot take part: {failure.reason}.")

    def _mark_gone(self, node: _Node) -> None:
        if node.info and not node.refused and node.info.name not in self._excluded:
            self._store_status.put(node.info.name, "away", "not connected")

    def _refuse_duplicates(self) -> None:
        """Refuse the later of two nodes with the same name, once the grace period is over."""
        holders = {node.info.name: node for node in self._accepted().values() if node.info}
        for node_id, node in self._nodes.items():
            if node.info is None or node.refused or holders.get(node.info.name) in (node, None):
                continue
            # a store that was killed comes back as another node while the old one still counts
            if time.monotonic() - node.seen > self._reconnect_grace:
                name = node.info.name
                self._refuse(node, f"A second store named {name!r} is refused.")
                self._connection.ask(
                    node_id,
                    Notice(f"Another store has joined as {name!r}; join again under another name."),
                )

    def _refuse(self, node: _Node, why: str) -> None:
        node.refused = True
        self._note_once(why)

    def _note_once(self, text: str) -> None:
        """Note a text, once only."""
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def _accepted(self) -> dict[int, _Node]:
        """Return the nodes that stand for a store: of each name the one that was seen first."""
        firsts: dict[str, int] = {}
        for node_id, node in self._nodes.items():
            if node.info is not None and not node.refused and node.info.name not in self._excluded:
                # the first: nobody takes a store's place by naming himself after it
                firsts.setdefault(node.info.name, node_id)
        return {node_id: self._nodes[node_id] for node_id in firsts.values()}
