"""Secure sums over a grid in this process: real stores, real messages, no network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedshelf.client.process.handler import handle_order
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.privacy.secure_sum.ciphers import RingVector
from fedshelf.common.protocol.messages import Failure, SumTerms, SumTotal, TrainOrder
from fedshelf.common.protocol.probe import header_fields
from fedshelf.common.protocol.secure_sum import ring_elements
from fedshelf.server.grid.runtime import GridRuntime, for_stores
from fedshelf.server.ipc.office_file import OfficeFacts
from fedshelf.server.ipc.run_mailbox import RunFiles
from fedshelf.server.runtime import RoundSummedError
from tests.helpers.deployed import LocalGrid, wait_for
from tests.helpers.summing_stores import CONFIG, PLAN, SummingChain, SummingStore, order


class SummingGrid(LocalGrid):
    """A grid of stores that count the steps which they are asked for.

    gone: stores that end before they answer a kind of message
    """

    def __init__(self, chain: SummingChain) -> None:
        super().__init__()
        self.steps: list[str] = []
        self.gone: dict[str, str] = {}
        for number, store in enumerate(chain.stores.values(), start=1):
            self.apps[number] = self._app(number, store)

    def _app(self, number: int, store: SummingStore) -> ClientApp:
        app = ClientApp()

        def handle(message: Message, _: Context) -> Message:
            fields = header_fields(message.content)
            step = str(fields.get("step", fields["kind"]))
            if store.name == "oslo" and fields.get("purpose") != "validation":
                self.steps.append(step)
            if self.gone.get(store.name) == step:
                self.apps.pop(number, None)
                raise ConnectionError(store.name)
            answer = handle_order(store.worker, message.content, FrozenCache(), None, store.sums)
            return Message(answer, reply_to=message)

        app.query()(handle)
        app.train()(handle)
        return app


class Server:
    """A server's app over the grid; another one is one that has started again."""

    def __init__(self, chain: SummingChain, grid: SummingGrid, place: Path) -> None:
        key = chain.chain.office_key
        assert key is not None
        self.facts = OfficeFacts(chain.chain.name, key)
        self.files = RunFiles(office=lambda: self.facts, sums=place / "secure-sums")
        self.runtime = GridRuntime(
            grid, CONFIG, PLAN.run_id, lambda _: None, self.files, reconnect_grace=0.0
        )
        self.runtime.expect_sums(_zeros)
        wait_for(lambda: self.runtime.stores().keys() == chain.stores.keys())
        self.stores = sorted(chain.stores)

    def sums(self, asked: TrainOrder) -> tuple[list[int], Sequence[str]]:
        """The sum of a round, and the stores in it."""
        *failures, total = self.runtime.train(asked, self.stores)
        assert isinstance(total, SumTotal), [*failures, total]
        return total.vector.tolist(), total.stores

    def failures(self, asked: TrainOrder) -> dict[str, str]:
        """The failures of an attempt without a sum."""
        answers = list(self.runtime.train(asked, self.stores))
        return {answer.store: answer.code for answer in answers if isinstance(answer, Failure)}


def _zeros(_: object) -> RingVector:
    return ring_elements(torch.zeros(2, dtype=torch.int32))


@pytest.fixture
def chain(tmp_path: Path) -> SummingChain:
    return SummingChain(tmp_path / "chain")


@pytest.fixture
def grid(chain: SummingChain) -> SummingGrid:
    return SummingGrid(chain)


@pytest.fixture
def server(chain: SummingChain, grid: SummingGrid, tmp_path: Path) -> Server:
    return Server(chain, grid, tmp_path)


ALL = ("lyon", "oslo", "rome")


def test_a_round_has_four_steps_and_the_next_one_three(server: Server, grid: SummingGrid) -> None:
    grid.steps.clear()
    assert server.sums(order()) == ([6, 3], ALL)
    assert grid.steps == ["keys", "shares", "train", "unmask"]
    grid.steps.clear()
    assert server.sums(order(2)) == ([6, 3], ALL)
    assert grid.steps == ["shares", "train", "unmask"]


def test_keys_that_were_asked_for_ahead_are_asked_for_once(tmp_path: Path) -> None:
    """A fourth store, which is not in the cohort and never answers, is not waited for."""
    chain = SummingChain(tmp_path / "chain")
    chain.stores["ulm"] = SummingStore(tmp_path / "home", "ulm", chain.office, 4, 3)
    grid = SummingGrid(chain)
    server = Server(chain, grid, tmp_path)
    server.stores.remove("ulm")
    grid.gone = {"ulm": "keys"}
    grid.steps.clear()
    server.runtime.prepare_sums(PLAN, 1)
    wait_for(lambda: grid.steps == ["keys"])
    assert server.sums(order()) == ([6, 3], ALL)
    assert grid.steps == ["keys", "shares", "train", "unmask"]


def test_a_store_that_fails_ends_the_attempt_and_the_next_one_goes_on(
    server: Server, chain: SummingChain
) -> None:
    """With three stores and a least of three, none may be missing."""
    oslo = chain.stores["oslo"]
    oslo.worker.vector = torch.zeros(5, dtype=torch.int32)
    assert server.failures(order()) == {
        "lyon": "unavailable",
        "oslo": "invalid",
        "rome": "unavailable",
    }
    oslo.worker.vector = torch.tensor([2, 1], dtype=torch.int32)
    assert server.sums(order()) == ([6, 3], ALL)


def test_a_server_that_dies_before_it_asks_begins_another_attempt(
    server: Server, chain: SummingChain, grid: SummingGrid, tmp_path: Path
) -> None:
    oslo = chain.stores["oslo"]
    oslo.worker.vector = torch.zeros(5, dtype=torch.int32)  # the vectors of the others have come
    server.failures(order())
    oslo.worker.vector = torch.tensor([2, 1], dtype=torch.int32)
    assert Server(chain, grid, tmp_path).sums(order()) == ([6, 3], ALL)


def test_a_server_that_dies_after_it_has_asked_asks_for_the_same_sum(
    server: Server, chain: SummingChain, grid: SummingGrid, tmp_path: Path
) -> None:
    first = server.sums(order())
    for store in chain.stores.values():
        store.restart()
    grid.steps.clear()
    again = Server(chain, grid, tmp_path)
    fewer = replace(order(), terms=SumTerms(2, 50))  # of a cohort that is another one by now
    assert again.sums(fewer) == first
    assert grid.steps[-1:] == ["unmask"]
    assert "train" not in grid.steps
    assert again.sums(order(2)) == ([6, 3], ALL)


def test_a_round_whose_sum_is_lost_is_not_summed_again(
    server: Server, chain: SummingChain, grid: SummingGrid, tmp_path: Path
) -> None:
    server.sums(order())
    (tmp_path / "secure-sums" / "train.safetensors").unlink()
    again = Server(chain, grid, tmp_path)
    with pytest.raises(RoundSummedError):
        again.sums(order())
    assert again.sums(order(2)) == ([6, 3], ALL)


def test_a_round_whose_order_is_another_one_now_is_not_summed_again(
    server: Server, chain: SummingChain, grid: SummingGrid, tmp_path: Path
) -> None:
    server.sums(order())
    with pytest.raises(RoundSummedError):
        Server(chain, grid, tmp_path).sums(order(params=1.0))


def test_a_store_whose_keys_the_office_did_not_certify_does_not_end_the_others_attempt(
    tmp_path: Path,
) -> None:
    """Four stores, of which one has a kit of another office."""
    chain = SummingChain(tmp_path / "chain")
    other = SummingChain(tmp_path / "other")
    stranger = SummingStore(tmp_path / "home", "ulm", other.office, 9, 3)
    chain.stores["ulm"] = stranger
    server = Server(chain, SummingGrid(chain), tmp_path)
    *failures, total = server.runtime.train(replace(order(), terms=SumTerms(4, 100)), server.stores)
    assert isinstance(total, SumTotal)
    assert (total.vector.tolist(), total.stores) == ([6, 3], ALL)
    assert [getattr(failure, "store", None) for failure in failures] == ["ulm"]


def test_a_new_list_of_revoked_stores_reaches_all_with_the_next_round(
    tmp_path: Path,
) -> None:
    """Four stores, of which one is revoked between two rounds."""
    chain = SummingChain(tmp_path / "chain")
    chain.stores["ulm"] = SummingStore(tmp_path / "home", "ulm", chain.office, 4, 3)
    server = Server(chain, SummingGrid(chain), tmp_path)
    four = replace(order(), terms=SumTerms(4, 100))
    assert server.sums(four) == ([10, 4], ("lyon", "oslo", "rome", "ulm"))
    revoked = chain.office.revoke(["ulm"])
    server.facts = replace(server.facts, revoked=revoked.model_dump_json().encode())
    assert server.sums(replace(order(2), terms=SumTerms(4, 100))) == ([6, 3], ALL)
    assert (chain.stores["oslo"].home / "revoked-peers.json").exists()


def test_the_order_that_stores_get_is_the_one_that_is_summed(server: Server) -> None:
    """The server's own settings do not travel, so they do not count."""
    own = replace(PLAN, config=for_stores(CONFIG))
    assert server.sums(replace(order(), plan=own)) == ([6, 3], ALL)
