"""One attempt at a secure sum of a round, step by step."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, TypeVar

from pydantic import ValidationError

from fedshelf.common.errors import ConfigError
from fedshelf.common.privacy.peers import PeerCertificate, PeerVerifier
from fedshelf.common.privacy.secure_sum.ciphers import RingVector
from fedshelf.common.privacy.secure_sum.messages import Advert, SumAddress
from fedshelf.common.privacy.secure_sum.refusals import SecureSumError
from fedshelf.common.privacy.secure_sum.server import SumServer, make_roster
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Failure,
    SumPart,
    SumTotal,
    TrainOrder,
)
from fedshelf.common.protocol.secure_sum import (
    MaskedSummand,
    SumAnswer,
    SumOrder,
    SumStep,
    purpose_of,
    ring_elements,
    ring_tensor,
    survivors_content,
)
from fedshelf.common.training.order_digest import summand_digest
from fedshelf.server.results.sum_spool import AskedSum, SumSpool

Answer = TypeVar("Answer", SumAnswer, MaskedSummand)


class AskStores(Protocol):
    """Sends an order to stores, and yields one answer per store as they arrive."""

    def __call__(
        self,
        order: TrainOrder | EvaluateOrder | SumOrder,
        stores: Collection[str],
        kind: type[Answer],
        parts: Mapping[str, SumPart] | None = None,
    ) -> Iterable[Answer | Failure]:
        """Yield the answers.

        Args:
            order: the order
            stores: names of the stores that get it
            kind: the class of the answers
            parts: a part of the order for each store; None: all get the same
        """


class SumAttempt:
    """One attempt at the sum of a round.

    Its methods raise SecureSumError if the attempt cannot go on. They are called in the order
    ask_keys, check_adverts, share, work, open; or open_again alone.

    Args:
        order: with terms, as the stores get it
        number: of the attempt, from 0
        ask: sends orders
        spool: the server's memory of the sums

    Attributes:
        failed: the stores that are out of the attempt
        next_adverts: keys for the next round, by store
    """

    def __init__(
        self, order: TrainOrder | EvaluateOrder, number: int, ask: AskStores, spool: SumSpool
    ) -> None:
        assert order.terms is not None
        self.order = order
        self.number = number
        self.failed: dict[str, Failure] = {}
        self.next_adverts: dict[str, Advert] = {}
        self._terms = order.terms
        # a model is evaluated before its round is saved, and the round before it was
        self._committed = (
            order.committed if isinstance(order, TrainOrder) else max(0, order.round - 2)
        )
        self._ask = ask
        self._spool = spool

    def ask_keys(
        self, stores: Collection[str], revoked: bytes
    ) -> tuple[dict[str, Advert], dict[str, int]]:
        """Ask stores for their keys.

        Args:
            stores: names of the stores
            revoked: the office's list of revoked stores as JSON, or empty

        Returns:
            (keys by store, number of stores among which each wants to be hidden).
        """
        return self._keys(self._step("keys", revoked, stores))

    def take_keys(
        self, answers: Iterable[SumAnswer | Failure], stores: Collection[str]
    ) -> tuple[dict[str, Advert], dict[str, int]]:
        """Return what `ask_keys` does, of a question that was asked before.

        Args:
            answers: to it; stores beside the cohort are not waited for
            stores: names of the stores of the cohort that it was asked of
        """
        return self._keys(self._checked("keys", _until_all(answers, stores)))

    def check_adverts(
        self, adverts: Mapping[str, Advert], verify: PeerVerifier | None
    ) -> dict[str, Advert]:
        """Return the keys that the other stores would accept; their owners alone go on.

        Otherwise one store with keys of its own making would end every attempt.

        Args:
            adverts: keys by store
            verify: the rule of the stores; None: it is not known here
        """
        good = {}
        for store, advert in adverts.items():
            chain = _chain(advert)
            address = self._address(chain or "")
            is_known = verify is None or verify(
                store, advert.certificate, advert.statement(address), advert.signature
            )
            if chain is not None and is_known:
                good[store] = advert
            else:
                self._fail(store, "its keys are not certified by the chain's office, or revoked")
        return good

    def share(self, adverts: Mapping[str, Advert], least: int, zeros: RingVector) -> None:
        """Show all keys to all stores, and collect the shares that each seals for the others.

        Args:
            adverts: keys by store
            least: stores among which each wants to be hidden
            zeros: ring elements [Q], all zero: the type and length of a store's vector
        """
        roster = make_roster(summand_digest(self.order), adverts, least)
        chain = _chain(next(iter(adverts.values())))
        assert chain is not None
        self._server = SumServer(self._address(chain), roster, zeros)
        for answer in self._step("shares", roster.to_bytes(), roster.stores):
            with self._failing(answer.store):
                self._server.take_boxes(answer.store, answer.content)

    def work(self) -> None:
        """Let the stores that have shared their keys do the work, and add up what they answer."""
        server = self._server
        sharers = sorted(server.sharers)
        parts = {store: SumPart(self.number, server.inbox(store)) for store in sharers}
        for answer in self._ask(self.order, sharers, MaskedSummand, parts):
            if isinstance(answer, Failure):
                self.failed[answer.store] = answer
                continue
            with self._failing(answer.store):
                if (answer.round, answer.attempt) != (self.order.round, self.number):
                    raise SecureSumError("malformed", "answers another round or attempt")
                server.take_masked(answer.store, ring_elements(answer.vector))
        server.check_survivors()

    def open(self) -> SumTotal:
        """Ask the stores whose vectors have come to open their sum.

        Raises OSError if the memory of it cannot be written before.
        """
        server = self._server
        self._spool.ask(
            AskedSum(
                self.order.round,
                self.number,
                self._terms,
                server.to_bytes(),
                ring_tensor(server.masked_total),
                tuple(self.failed.values()),
            )
        )
        return self._open(server)

    def open_again(self, asked: AskedSum) -> SumTotal:
        """Ask for the same sum as before this process, or this cohort, was there.

        Raises SecureSumError if the order is not that of the sum.
        """
        address = self._address("")
        server = SumServer.from_bytes(address, asked.server, ring_elements(asked.total))
        server.address = self._address(_chain(server.roster.adverts[0]) or "")
        self._terms = asked.terms
        self.failed = {failure.store: failure for failure in asked.failed}
        if summand_digest(replace(self.order, terms=asked.terms)) != server.roster.order:
            raise SecureSumError(
                "already-summed", "the sum that its stores have opened is of another order"
            )
        return self._open(server)

    def fail_others(self, stores: Collection[str], why: str) -> None:
        """Note the reason for which stores of the cohort wait that have not failed themselves."""
        for store in set(stores) - self.failed.keys():
            self.failed[store] = Failure(
                store, "unavailable", f"could not be summed with others: {why}"
            )

    def _open(self, server: SumServer) -> SumTotal:
        survivors = server.survivors
        for answer in self._step("unmask", survivors_content(survivors), survivors):
            with self._failing(answer.store):
                advert = server.take_reveal(answer.store, answer.content)
                if advert is not None and advert.store == answer.store:
                    self.next_adverts[answer.store] = advert
        vector = ring_tensor(server.total())
        for store in survivors:  # also one that has sent its update, and has gone since
            self.failed.pop(store, None)
        return SumTotal(self.order.round, survivors, vector, self._terms)

    def _step(self, step: SumStep, content: bytes, stores: Collection[str]) -> Iterator[SumAnswer]:
        """Send a step to stores and yield the answers; note failures."""
        if not stores:
            return
        order = SumOrder(
            replace(self.order.plan, frozen=None),
            self.order.round,
            purpose_of(self.order),
            self.number,
            step,
            content,
            self._committed,
        )
        yield from self._checked(step, self._ask(order, stores, SumAnswer))

    def _checked(
        self, step: SumStep, answers: Iterable[SumAnswer | Failure]
    ) -> Iterator[SumAnswer]:
        """Yield the answers to a step; note failures."""
        for answer in answers:
            if isinstance(answer, Failure):
                self.failed[answer.store] = answer
            elif (answer.round, answer.attempt, answer.step) != (
                self.order.round,
                self.number,
                step,
            ):
                self._fail(answer.store, "it answers another step of the secure sum")
            else:
                yield answer

    def _keys(self, answers: Iterable[SumAnswer]) -> tuple[dict[str, Advert], dict[str, int]]:
        adverts = {}
        least = {}
        for answer in answers:
            if (advert := self._advert(answer)) is not None:
                adverts[answer.store] = advert
                least[answer.store] = answer.stores
        return adverts, least

    def _advert(self, answer: SumAnswer) -> Advert | None:
        with self._failing(answer.store):
            advert = Advert.from_bytes(answer.content)
            if advert.store == answer.store:
                return advert
            self._fail(answer.store, "it sends the keys of another store")
        return None

    @contextmanager
    def _failing(self, store: str) -> Iterator[None]:
        """Turn a malformed message into the failure of its store."""
        try:
            yield
        except SecureSumError as error:
            self._fail(store, str(error))

    def _fail(self, store: str, why: str) -> None:
        self.failed[store] = Failure(store, "invalid", why)

    def _address(self, chain: str) -> SumAddress:
        run = self.order.plan.run_id
        return SumAddress(chain, run, purpose_of(self.order), self.order.round, self.number)


def _chain(advert: Advert) -> str | None:
    """Return the chain that a store's certificate names; None if it is no certificate."""
    try:
        return PeerCertificate.model_validate_json(advert.certificate).chain
    except (ValidationError, ConfigError):
        return None


def _until_all(
    answers: Iterable[SumAnswer | Failure], stores: Collection[str]
) -> Iterator[SumAnswer | Failure]:
    """Yield the answers of these stores, until all have come."""
    waiting = set(stores)
    pending = iter(answers)
    while waiting and (answer := next(pending, None)) is not None:
        if answer.store in waiting:
            waiting.remove(answer.store)
            yield answer
