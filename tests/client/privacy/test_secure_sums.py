"""A store's steps in a secure sum: the same answers after any kill, and no others."""

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedshelf.client.failures import StoreError
from fedshelf.common.privacy.secure_sum.messages import Advert
from fedshelf.common.privacy.secure_sum.server import make_roster
from fedshelf.common.protocol.messages import Failure, SumPart
from fedshelf.common.protocol.secure_sum import MaskedSummand, SumOrder, survivors_content
from fedshelf.common.system.files import write_text
from fedshelf.common.training.order_digest import summand_digest
from tests.helpers.equality import same
from tests.helpers.summing_stores import SummingChain, order


@pytest.fixture
def chain(tmp_path: Path) -> SummingChain:
    return SummingChain(tmp_path)


def test_three_stores_give_their_sum(chain: SummingChain) -> None:
    server = chain.masked(order())
    assert chain.total(server) == [1 + 2 + 3, 3]


def test_all_of_a_store_is_on_disk_before_an_answer_leaves(chain: SummingChain) -> None:
    """Each store is killed after each step, and goes on with the same answers."""

    def restarted() -> Iterator[None]:
        while True:
            for store in chain.stores.values():
                store.restart()
            yield

    kill = restarted()
    first = chain.adverts()
    next(kill)
    assert chain.adverts() == first
    server = chain.shared(order())
    next(kill)
    again = chain.shared(order())
    assert [again.inbox(name) for name in chain.stores] == [
        server.inbox(name) for name in chain.stores
    ]
    asked = chain.part(server, "oslo", order())
    before = chain.stores["oslo"].does(asked)
    next(kill)
    after = chain.stores["oslo"].does(asked)
    assert isinstance(before, MaskedSummand)
    assert isinstance(after, MaskedSummand)
    assert same(before.vector, after.vector)
    whole = chain.masked(order())
    assert chain.total(whole) == [6, 3]
    next(kill)
    assert chain.total(whole) == [6, 3]
    path = chain.stores["oslo"].home / "secure-sums" / "run.train.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_answer_to_unmask_has_the_next_rounds_keys(chain: SummingChain) -> None:
    server = chain.masked(order())
    asked = chain.unmask(server)
    told = {name: server.take_reveal(name, chain.content(name, asked)) for name in chain.stores}
    assert told == chain.adverts(number=2)


def test_no_round_is_summed_twice(chain: SummingChain) -> None:
    server = chain.masked(order())
    chain.total(server)
    oslo = chain.stores["oslo"]
    assert oslo.refuses(chain.step("keys", b"", attempt=1)) == "already-summed"
    fewer = chain.step("unmask", survivors_content(("lyon", "oslo")))
    assert oslo.refuses(fewer) == "second-survivors"
    oslo.restart()
    assert oslo.refuses(chain.step("keys", b"", attempt=1)) == "already-summed"
    assert oslo.refuses(fewer) == "second-survivors"


def test_masks_hide_one_vector(chain: SummingChain) -> None:
    """Photos that have changed between two trainings make another vector."""
    server = chain.shared(order())
    oslo = chain.stores["oslo"]
    asked = chain.part(server, "oslo", order())
    assert isinstance(oslo.does(asked), MaskedSummand)
    oslo.worker.vector = torch.tensor([9, 1], dtype=torch.int32)
    assert oslo.refuses(asked) == "second-vector"


def test_a_store_with_another_order_than_the_others_does_not_train(chain: SummingChain) -> None:
    server = chain.shared(order())
    oslo = chain.stores["oslo"]
    other = chain.part(server, "oslo", order(params=1.0))
    assert oslo.refuses(other) == "wrong-roster"
    assert oslo.worker.trained == 0


def test_an_order_of_a_sum_without_a_part_in_it_does_not_train(chain: SummingChain) -> None:
    oslo = chain.stores["oslo"]
    assert oslo.refuses(order()) == "malformed"
    assert oslo.refuses(replace(order(), terms=None, secure_sum=SumPart(0, b""))) == "malformed"
    assert oslo.refuses(replace(order(), secure_sum=SumPart(0, b""))) == "out-of-turn"
    assert oslo.worker.trained == 0


def test_an_invented_store_and_one_that_is_revoked_are_refused(
    chain: SummingChain, tmp_path: Path
) -> None:
    """The server makes an office of its own, and has the kit of a store that the office revoked."""
    oslo = chain.stores["oslo"]
    invented = SummingChain(tmp_path / "invented").stores["rome"]
    asked = chain.step("keys", b"")
    rome = Advert.from_bytes(invented.does(asked).content)  # type: ignore[union-attr]
    roster = make_roster(summand_digest(order()), chain.adverts() | {"rome": rome}, 3)
    assert oslo.refuses(chain.step("shares", roster.to_bytes())) == "unknown-store"
    revoked = chain.office.revoke(["rome"])
    chain.content("oslo", chain.step("keys", revoked.model_dump_json().encode()))
    oslo.restart()
    whole = chain.roster(order())
    assert oslo.refuses(chain.step("shares", whole.to_bytes())) == "unknown-store"
    for wrong in (b"{}", revoked.model_copy(update={"keys": ()}).model_dump_json().encode()):
        assert oslo.refuses(chain.step("keys", wrong)) in ("malformed", "unknown-store")


def test_replayed_keys_are_refused(chain: SummingChain) -> None:
    """Those of another round, whose secrets the server may know by now."""
    old = chain.adverts()
    roster = make_roster(
        summand_digest(order(2)), chain.adverts(number=2) | {"rome": old["rome"]}, 3
    )
    step = chain.step("shares", roster.to_bytes(), number=2)
    assert chain.stores["oslo"].refuses(step) == "unknown-store"


def test_a_cohort_below_the_policys_least_is_refused(tmp_path: Path) -> None:
    chain = SummingChain(tmp_path, least=4)
    roster = chain.roster(order())
    step = chain.step("shares", roster.to_bytes())
    assert chain.stores["oslo"].refuses(step) == "too-few-stores"


def test_a_store_without_a_peer_key_says_so_and_works_otherwise(chain: SummingChain) -> None:
    oslo = chain.stores["oslo"]
    (oslo.home / "peer.json").unlink()
    oslo.restart()
    assert oslo.refuses(chain.step("keys", b"")) == "no-peer-key"


def test_a_damaged_memory_is_not_taken_for_none(chain: SummingChain) -> None:
    chain.total(chain.masked(order()))
    oslo = chain.stores["oslo"]
    write_text(oslo.home / "secure-sums" / "run.train.json", "{}")
    oslo.restart()
    assert oslo.refuses(chain.step("keys", b"", attempt=1)) == "malformed"


def test_the_policy_is_asked_before_keys_and_shares_but_not_for_what_was_begun(
    chain: SummingChain,
) -> None:
    server = chain.masked(order())
    oslo = chain.stores["oslo"]

    def forbid(_: SumOrder) -> None:
        raise StoreError("policy", "not now", "hours", 60)

    oslo.allow = forbid
    for step in (chain.step("keys", b"", 2), chain.step("shares", server.roster.to_bytes())):
        answer = oslo.does(step)
        assert isinstance(answer, Failure)
        assert (answer.code, answer.detail) == ("policy", "hours")
    assert chain.total(server) == [6, 3]
