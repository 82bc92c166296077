"""A server that wants more than one sum, or stores of its own in it: each attempt is refused by the
store's own process, with a line in its audit log.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fedshelf.client.audit import AUDIT_FILE
from fedshelf.client.audit.verify import entries
from fedshelf.client.identity.home import store_home
from fedshelf.client.identity.peer import save_peer
from fedshelf.client.policy.policy import Policy
from fedshelf.client.process.worker_process import WorkerProcess, WorkerSettings
from fedshelf.client.session.order_queue import OrderQueue
from fedshelf.client.session.recorder import SessionRecorder
from fedshelf.common.config import flatten, resolve
from fedshelf.common.privacy.secure_sum.messages import Advert, Roster, SumAddress
from fedshelf.common.privacy.secure_sum.server import SumServer, make_roster
from fedshelf.common.protocol.messages import Failure, Plan, SumPart, SumTerms, TrainOrder
from fedshelf.common.protocol.secure_sum import (
    MaskedSummand,
    SumAnswer,
    SumOrder,
    SumStep,
    ring_elements,
    survivors_content,
)
from fedshelf.common.protocol.serialization import Result
from fedshelf.common.training.fit import Network
from fedshelf.common.training.order_digest import summand_digest
from tests.helpers.deployed import draw_photos
from tests.helpers.order_wire import OrderWire
from tests.helpers.small_plan import CONFIG, CPU, SPEC
from tests.helpers.summing_stores import SummingChain

PLAN = Plan("run", resolve(flatten(CONFIG), {"privacy.secure_sum": True}), SPEC)
ROUND = 2

Ask = Callable[[TrainOrder | SumOrder], Result]


@pytest.fixture
def chain(tmp_path: Path) -> SummingChain:
    return SummingChain(tmp_path / "chain")


@pytest.fixture
def ask(tmp_path: Path, chain: SummingChain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Sends orders to oslo, a store with photos and a process of its own."""
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    save_peer(store_home("oslo"), chain.office.certify("oslo"))
    photos = draw_photos(tmp_path / "photos", ["boot", "hat"], 20)
    wire = OrderWire()
    with (
        SessionRecorder(store_home("oslo"), Policy()) as recorder,
        closing(
            WorkerProcess(WorkerSettings("oslo", photos, "cpu"), recorder.record_photo_change)
        ) as worker,
    ):
        orders = OrderQueue(worker, recorder)
        yield lambda order: wire.ask(orders, order)


def step(step: SumStep, content: bytes, attempt: int = 0) -> SumOrder:
    return SumOrder(PLAN, ROUND, "train", attempt, step, content)


def test_a_server_gets_one_sum_over_known_stores_and_all_else_is_refused_and_recorded(
    chain: SummingChain, ask: Ask, tmp_path: Path
) -> None:
    params = Network(SPEC, CPU, seed=1).vector.detach().clone()
    order = TrainOrder(PLAN, ROUND, params, terms=SumTerms(3, 100))
    digest = summand_digest(order)

    def refused(asked: TrainOrder | SumOrder) -> str:
        answer = ask(asked)
        assert isinstance(answer, Failure), answer
        return answer.detail

    def content(asked: SumOrder) -> bytes:
        answer = ask(asked)
        assert isinstance(answer, SumAnswer), answer
        return answer.content

    replayed = chain.adverts(number=1)["rome"]
    others = {name: advert for name, advert in chain.adverts(ROUND).items() if name != "oslo"}
    adverts = others | {"oslo": Advert.from_bytes(content(step("keys", b"")))}
    invented = SummingChain(tmp_path / "invented").adverts(ROUND)["rome"]
    told = [
        refused(step("shares", roster.to_bytes()))
        for roster in (
            make_roster(digest, adverts | {"rome": invented}, 3),
            make_roster(digest, adverts | {"rome": replayed}, 3),
            Roster(2, digest, (adverts["lyon"], adverts["oslo"])),
            Roster(1, digest, tuple(adverts[name] for name in sorted(adverts))),
        )
    ]
    roster = make_roster(digest, adverts, 3)
    zeros = ring_elements(params.int())
    server = SumServer(SumAddress(chain.chain.name, "run", "train", ROUND), roster, zeros)
    for name in others:
        shares = chain.step("shares", roster.to_bytes(), ROUND)
        server.take_boxes(name, chain.content(name, shares))
    server.take_boxes("oslo", content(step("shares", roster.to_bytes())))
    part = SumPart(0, server.inbox("oslo"))
    told.append(refused(replace(order, params=params + 1, secure_sum=part)))
    told.append(refused(order))  # in clear
    assert isinstance(ask(replace(order, secure_sum=part)), MaskedSummand)
    everybody = survivors_content(("lyon", "oslo", "rome"))
    told.append(refused(step("unmask", survivors_content(("lyon", "oslo")))))
    first = content(step("unmask", everybody))
    told.append(refused(step("unmask", survivors_content(("oslo", "rome")))))
    told.append(refused(step("keys", b"", attempt=1)))
    assert content(step("unmask", everybody)) == first
    assert told == [
        "unknown-store",
        "unknown-store",
        "too-few-stores",
        "too-few-stores",
        "wrong-roster",
        "malformed",
        "too-few-stores",
        "second-survivors",
        "already-summed",
    ]
    log = list(entries(store_home("oslo") / AUDIT_FILE))
    assert [entry.why for entry in log if entry.event == "refused"] == told
    sums = [entry.why for entry in log if "sum of 3 stores" in entry.why]
    assert sums == ["shares that open a sum of 3 stores"] * 2
