"""Stores with kits of one office that take part in secure sums with a vector of their own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from fedshelf.client.identity.peer import save_peer
from fedshelf.client.privacy.secure_sums import SecureSums
from fedshelf.client.process.handler import handle_order
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.config import resolve
from fedshelf.common.privacy.secure_sum.messages import Advert, Roster, SumAddress
from fedshelf.common.privacy.secure_sum.server import SumServer, make_roster
from fedshelf.common.protocol.messages import (
    Failure,
    Plan,
    Summand,
    SumPart,
    SumTerms,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.secure_sum import (
    MaskedSummand,
    SumAnswer,
    SumOrder,
    SumStep,
    ring_elements,
    survivors_content,
)
from fedshelf.common.protocol.serialization import Result, decode_result, encode_order
from fedshelf.common.training.order_digest import summand_digest
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.office import Office
from tests.helpers.grid_stores import SPEC, Doubler

CONFIG = resolve({"privacy.secure_sum": True, "cohort.timeout": 30.0})
PLAN = Plan("run", CONFIG, SPEC)


class Summer(Doubler):
    """A store whose part of the sum is [its number, 1], or what `vector` says."""

    def __init__(self, name: str, vector: torch.Tensor) -> None:
        super().__init__(name)
        self.vector = vector
        self.trained = 0

    def train(self, order: TrainOrder) -> Update:
        self.trained += 1
        assert order.terms is not None
        return Summand(self.name, order.round, self.vector)  # type: ignore[return-value]


def order(number: int = 1, params: float = 0.0) -> TrainOrder:
    return TrainOrder(PLAN, number, torch.full((2,), params), terms=SumTerms(3, 100))


class SummingStore:
    """A store with its home on disk; `restart` forgets all else."""

    def __init__(self, home: Path, name: str, office: Office, number: int, least: int) -> None:
        home.mkdir(parents=True)
        save_peer(home, office.certify(name))
        self.home = home
        self.name = name
        self.least = least
        self.worker = Summer(name, torch.tensor([number, 1], dtype=torch.int32))
        self.allow: Callable[[SumOrder], None] = lambda _: None
        self.restart()

    def restart(self) -> None:
        self.sums = SecureSums(self.home, self.least, self._check_allowed)

    def _check_allowed(self, asked: SumOrder) -> None:
        self.allow(asked)

    def does(self, asked: TrainOrder | SumOrder) -> Result:
        """Its answer to an order, as it arrives at the server."""
        return decode_result(
            handle_order(self.worker, encode_order(asked), FrozenCache(), None, self.sums)
        )

    def refuses(self, asked: TrainOrder | SumOrder) -> str:
        """The detail of its refusal."""
        answer = self.does(asked)
        assert isinstance(answer, Failure), answer
        assert answer.code == "secure-sum"
        return answer.detail


class SummingChain:
    """Three stores of one chain, and a server that plays the steps of an attempt with them."""

    def __init__(self, place: Path, least: int = 3) -> None:
        self.chain = Chain.make(place / "chain" / "server", "shop.example", 9092)
        self.office = self.chain.make_office(place / "stick")
        self.stores = {
            name: SummingStore(place / "homes" / name, name, self.office, number, least)
            for number, name in enumerate(("lyon", "oslo", "rome"), start=1)
        }

    def step(
        self,
        step: SumStep,
        content: bytes,
        number: int = 1,
        attempt: int = 0,
        committed: int = 0,
    ) -> SumOrder:
        return SumOrder(PLAN, number, "train", attempt, step, content, committed)

    def content(self, store: str, asked: SumOrder) -> bytes:
        answer = self.stores[store].does(asked)
        assert isinstance(answer, SumAnswer), answer
        return answer.content

    def adverts(self, number: int = 1, attempt: int = 0) -> dict[str, Advert]:
        asked = self.step("keys", b"", number, attempt)
        return {name: Advert.from_bytes(self.content(name, asked)) for name in self.stores}

    def roster(self, asked: TrainOrder, attempt: int = 0) -> Roster:
        return make_roster(summand_digest(asked), self.adverts(asked.round, attempt), 3)

    def shared(self, asked: TrainOrder, attempt: int = 0) -> SumServer:
        roster = self.roster(asked, attempt)
        address = SumAddress(self.chain.name, PLAN.run_id, "train", asked.round, attempt)
        zeros = ring_elements(torch.zeros(2, dtype=torch.int32))
        server = SumServer(address, roster, zeros)
        for name in self.stores:
            step = self.step("shares", roster.to_bytes(), asked.round, attempt)
            server.take_boxes(name, self.content(name, step))
        return server

    def part(self, server: SumServer, store: str, asked: TrainOrder) -> TrainOrder:
        part = SumPart(server.address.attempt, server.inbox(store))
        return replace(asked, secure_sum=part)

    def masked(self, asked: TrainOrder, attempt: int = 0) -> SumServer:
        server = self.shared(asked, attempt)
        for name, store in self.stores.items():
            answer = store.does(self.part(server, name, asked))
            assert isinstance(answer, MaskedSummand), answer
            server.take_masked(name, ring_elements(answer.vector))
        return server

    def unmask(self, server: SumServer) -> SumOrder:
        content = survivors_content(server.survivors)
        return self.step("unmask", content, server.address.round, server.address.attempt)

    def total(self, server: SumServer) -> list[int]:
        for name in server.survivors:
            server.take_reveal(name, self.content(name, self.unmask(server)))
        return [int(element) for element in server.total()]
