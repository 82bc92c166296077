"""The runtime over Flower: stores reached through a Grid, by its public methods alone.

The same code serves the deployment (SuperLink and stores) and Flower's own simulation. Any fault of
a store or of the network becomes a Failure; nothing here raises because of a store.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from flwr.serverapp import Grid

from fedshelf.common.config import RunConfig, flatten, resolve
from fedshelf.common.privacy.secure_sum.ciphers import RingVector
from fedshelf.common.privacy.secure_sum.messages import Purpose
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    Plan,
    StoreInfo,
    SumPart,
    SumTotal,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.model_delivery import DeliverOrder
from fedshelf.common.protocol.secure_sum import (
    PURPOSES,
    MaskedSummand,
    SumAnswer,
    SumOrder,
    purpose_of,
)
from fedshelf.common.protocol.serialization import Notice, Query
from fedshelf.server import answer_deadline
from fedshelf.server.answer_deadline import AnswerDeadline
from fedshelf.server.grid.class_table import recounted
from fedshelf.server.grid.connection import GridConnection
from fedshelf.server.grid.dispatch import MIN_REPLIES_POLL_SECONDS, OrderDispatch
from fedshelf.server.grid.model_distribution import Distributed, ModelDistribution
from fedshelf.server.grid.phase_overlap import seconds_ahead, spans_of_stores
from fedshelf.server.grid.store_registry import RECONNECT_GRACE_SECONDS, StoreRegistry
from fedshelf.server.grid.sum_rounds import SumRounds
from fedshelf.server.ipc.run_mailbox import NO_FILES, RunFiles
from fedshelf.server.ipc.store_status import StoreStatusFile
from fedshelf.server.results.sum_spool import SumSpool
from fedshelf.server.runtime import RoundSummedError

# seconds that a list of the connected stores is used: a round asks several times
PRESENCE_FRESH_SECONDS = 0.5

Answer = TypeVar("Answer", Update, Evaluation, SumAnswer, MaskedSummand)


class GridRuntime:
    """A `server.runtime.Runtime` over `grid`.

    Args:
        config: for the question to the stores, and for the time limit of answers (`cohort.timeout`)
        note: takes lines for the person who watches the server
        files: the files through which it talks to the gateway and to viewers
        reconnect_grace: seconds in which a second node with a known store name is treated as the
            old store reconnecting
        stop: returns whether the run has been asked to end
    """

    def __init__(
        self,
        grid: Grid,
        config: RunConfig,
        run_id: str,
        note: Callable[[str], None],
        files: RunFiles = NO_FILES,
        *,
        reconnect_grace: float = RECONNECT_GRACE_SECONDS,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._timeout = config.cohort.timeout
        self._connection = GridConnection(
            grid, max(self._timeout, 1.0), files.upload_log, files.message_directory
        )
        self._store_status = StoreStatusFile(files.store_status)
        self._stop = stop
        self._enrolled = files.enrolled
        self._note = note
        query = Query(run_id, for_stores(config))
        self._registry = StoreRegistry(
            self._connection, query, note, self._store_status, files.enrolled, reconnect_grace
        )
        self._sums = {
            purpose: SumRounds(self._ask_step, SumSpool(files.sums, purpose), files.office)
            for purpose in PURPOSES
        }
        self._zeros: Callable[[TrainOrder | EvaluateOrder], RingVector] | None = None
        self._classes: tuple[str, ...] = ()
        self._is_merging = config.data.merge_spellings
        self._prefetched: OrderDispatch | None = None
        self._prefetched_stores: Sequence[str] = ()
        # store -> time of its answer to the present evaluation
        self._evaluated_at: dict[str, float | None] = {}
        self._training_seconds: dict[str, float] = {}  # seconds of each store's last training
        # the plan of the last order, and the part of it that stores see
        self._plans: tuple[Plan, Plan] | None = None

    def stores(self) -> Mapping[str, StoreInfo]:
        """Return the stores that may be asked now, by name.

        A new one appears once it has described its data.
        """
        self._registry.refresh(PRESENCE_FRESH_SECONDS)
        return {
            name: recounted(info, self._classes) for name, info in self._registry.present().items()
        }

    def agree(self, classes: Sequence[str]) -> None:
        """Map classes that stores spell otherwise to these names, if the settings say so."""
        self._classes = tuple(classes) if self._is_merging else ()

    def retry_after(self) -> float:
        """Return the seconds until all stores that asked for a rest may be asked again.

        It is 0 if none did.
        """
        return self._registry.retry_after()

    def held_back(self) -> Mapping[str, str]:
        """Return {store: reason in plain words} for connected stores that may not be asked now."""
        return self._registry.held_back()

    def exclude(self, store: str, why: str) -> None:
        """Send a store no more orders in this run, and tell it the reason."""
        self._registry.exclude(store, why)

    def prefetch_training(
        self, order: TrainOrder, stores: Sequence[str]
    ) -> Callable[[], float] | None:
        """Send the order with the next evaluation.

        A store that has judged the new model goes on to train it. An update that goes into a secure
        sum needs keys first, so it is not trained ahead.
        """
        if order.terms is not None:
            return None
        dispatch = self._dispatch(order, 2 * self._timeout)
        began = time.perf_counter()
        self._prefetched = dispatch
        self._prefetched_stores = stores

        def seconds() -> float:
            now = time.perf_counter()
            training = stores if dispatch.is_posted else ()
            return seconds_ahead(
                began,
                now,
                spans_of_stores(began, now, self._evaluated_at, training, self._training_seconds),
            )

        return seconds

    def train(
        self, order: TrainOrder, stores: Sequence[str]
    ) -> Iterable[Update | SumTotal | Failure]:
        """Yield one answer per store as they arrive, within `cohort.timeout` seconds.

        A store without one by then gets a Failure. If the order has terms, there are no updates,
        but one secure sum of all.

        Raises:
            StoppedError: the run is asked to end and a store goes on for long
            RoundSummedError: stores have opened a sum of the round that is lost here
        """
        if order.terms is not None:
            return self._sum(order, stores)
        dispatch = self._prefetched
        self._prefetched = None
        # the same only if nothing was taken back: else the model is another one
        if dispatch and dispatch.is_posted and _is_same(dispatch.order, order):
            dispatch.restrict_to(stores)
        else:
            dispatch = self._dispatch(order, max(self._timeout, 1.0))
            dispatch.post(stores)
        return self._record_training(
            self._results(dispatch, Update, answer_deadline.ROUND_STOP_SECONDS)
        )

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterable[Evaluation | SumTotal | Failure]:
        """Yield one answer per store as they arrive, within `cohort.timeout` seconds.

        A store without one by then gets a Failure. If the order has terms, there are no
        evaluations, but one secure sum of all.
        """
        if order.terms is not None:
            return self._sum_evaluations(order, stores)
        dispatch = self._dispatch(order, max(self._timeout, 1.0))
        dispatch.post(stores)
        # after the evaluation, as stores work on orders one after another
        if self._prefetched and not self._prefetched.is_posted:
            self._prefetched.post(self._prefetched_stores)
        self._evaluated_at = dict.fromkeys(stores)
        return self._record_evaluations(
            self._results(dispatch, Evaluation, answer_deadline.EVALUATION_STOP_SECONDS)
        )

    def deliver(self, order: DeliverOrder, stop: Callable[[], bool]) -> Distributed:
        """Give a model to all connected stores, whether they take part or not.

        It waits at most `cohort.timeout` seconds, or until `stop` returns True.
        """
        deadline = time.monotonic() + self._timeout
        distribution = ModelDistribution(order, self._connection, self._enrolled, self._note)
        return distribution.give(lambda: stop() or time.monotonic() > deadline)

    def tell(self, text: str, wait: float = 5.0) -> None:
        """Show `text` to the people who run the stores.

        Wait at most `wait` seconds until the stores have it.
        """
        sent = {
            self._connection.ask(node_id, Notice(text)) for node_id in self._registry.node_ids()
        } - {None}
        deadline = time.monotonic() + wait
        while sent and time.monotonic() < deadline:
            time.sleep(MIN_REPLIES_POLL_SECONDS)
            for reply in self._connection.pull([identity for identity in sent if identity]):
                sent.discard(reply.metadata.reply_to_message_id)
        # nobody may call again for long: the page shows the last states
        self._store_status.flush(at_once=True)

    def expect_sums(self, zeros: Callable[[TrainOrder | EvaluateOrder], RingVector]) -> None:
        """Set the form of the vectors of secure sums.

        Args:
            zeros: returns ring elements [Q], all zero, for an order with terms
        """
        self._zeros = zeros

    def prepare_sums(self, plan: Plan, round_number: int) -> None:
        """Ask all stores for their keys for a round's secure sums; do not wait for them.

        Nothing is done if the run has none. Raises RunError or OSError for the memory of the sums.
        """
        if not plan.config.privacy.secure_sum:
            return
        told = self._for_stores(plan)
        evaluation = plan.config.evaluation
        is_last = round_number == plan.config.run.rounds
        is_judged = evaluation.stores and (is_last or round_number % evaluation.every == 0)
        purposes: list[Purpose] = ["train", "validation"] if is_judged else ["train"]
        for purpose in purposes:
            stores = list(self._registry.present())
            self._sums[purpose].ask_ahead(told, purpose, round_number, stores)

    def _sum(
        self, order: TrainOrder | EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[SumTotal | Failure]:
        """Yield failures, and the secure sum of the stores' answers. Raises RoundSummedError."""
        assert self._zeros is not None, "the length of a store's vector is not known"
        if isinstance(order, TrainOrder):  # also of its evaluation, which follows
            self.prepare_sums(order.plan, order.round)
        told = replace(order, plan=self._for_stores(order.plan))
        return self._sums[purpose_of(order)].play(told, stores, self._zeros(order))

    def _sum_evaluations(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[SumTotal | Failure]:
        """Yield failures, and the secure sum of the stores' evaluations, unless it is lost."""
        try:
            yield from self._sum(order, stores)
        except RoundSummedError:
            self._note(
                f"Round {order.round}: the stores have summed their {order.split} before, and no"
                " round is summed twice; the model has no scores from them."
            )

    def _ask_step(
        self,
        order: TrainOrder | EvaluateOrder | SumOrder,
        stores: Collection[str],
        kind: type[Answer],
        parts: Mapping[str, SumPart] | None = None,
    ) -> Iterator[Answer | Failure]:
        """Send an order of a secure sum, and yield the answers as they arrive."""
        ttl = max(self._timeout, 1.0)
        dispatch = OrderDispatch(
            order, self._connection, self._registry, self._store_status, ttl, parts
        )
        dispatch.post(stores)
        return self._results(dispatch, kind, answer_deadline.ROUND_STOP_SECONDS)

    def _record_training(self, answers: Iterable[Update | Failure]) -> Iterator[Update | Failure]:
        """Pass answers on; record how long each store trained, and on how many images."""
        for answer in answers:
            if isinstance(answer, Update):
                self._training_seconds[answer.store] = answer.seconds
                # photos were added or deleted since it described them
                self._registry.check_images(answer.store, answer.num_examples)
            yield answer

    def _record_evaluations(
        self, answers: Iterable[Evaluation | Failure]
    ) -> Iterator[Evaluation | Failure]:
        """Pass answers on, and record when each store was done with judging."""
        for answer in answers:
            self._evaluated_at[answer.store] = time.perf_counter()
            yield answer

    def _for_stores(self, plan: Plan) -> Plan:
        """Return the plan without the server's own settings; all orders of a run share one."""
        if self._plans is None or self._plans[0] is not plan:
            self._plans = plan, replace(plan, config=for_stores(plan.config))
        return self._plans[1]

    def _dispatch(self, order: TrainOrder | EvaluateOrder, ttl: float) -> OrderDispatch:
        plan = self._for_stores(order.plan)
        return OrderDispatch(
            replace(order, plan=plan), self._connection, self._registry, self._store_status, ttl
        )

    def _results(
        self, dispatch: OrderDispatch, kind: type[Answer], after_stop: float
    ) -> Iterator[Answer | Failure]:
        for result in dispatch.answers(AnswerDeadline(self._timeout, self._stop, after_stop)):
            if isinstance(result, kind | Failure):
                yield result
            else:
                store = getattr(result, "store", "") or getattr(result, "name", "")
                yield Failure(store, "invalid", f"answered with {type(result).__name__}")


def _is_same(one: TrainOrder | EvaluateOrder | SumOrder, other: TrainOrder) -> bool:
    """Return whether both orders make a store train the same."""
    return (
        isinstance(one, TrainOrder)
        and one.round == other.round
        and torch.equal(one.params, other.params)
    )


def for_stores(config: RunConfig) -> RunConfig:
    """Return the configuration without the server's own settings.

    These are its files and the confirmed classes.
    """
    own = {
        "run.out": "",
        "evaluation.test_data": "",
        "model.weights": "none",
        "data.confirmed_classes": "",
    }
    return resolve(flatten(config), own)
