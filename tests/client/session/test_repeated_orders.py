"""An order that comes again is answered from memory, but never with what photos said that have been
deleted since.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from fedshelf.client.identity.home import store_home
from fedshelf.client.policy.policy import Policy
from fedshelf.client.process.worker_process import WorkerProcess, WorkerSettings
from fedshelf.client.session.order_queue import OrderQueue
from fedshelf.client.session.recorder import SessionRecorder
from fedshelf.common.protocol.messages import TrainOrder, Update
from fedshelf.common.training.fit import Network
from tests.helpers.deployed import draw_photos
from tests.helpers.order_wire import OrderWire
from tests.helpers.small_plan import CPU, PLAN, SPEC


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    store_home("oslo").mkdir(parents=True, exist_ok=True)
    return draw_photos(tmp_path / "photos", ["boot", "hat"], 20)


@pytest.fixture
def asked(photos: Path) -> Iterator[Callable[[], Update]]:
    """Sends the store the same order once more; its update."""
    order = TrainOrder(PLAN, 1, Network(SPEC, CPU, seed=1).vector.detach().clone())
    wire = OrderWire()
    with (
        SessionRecorder(store_home("oslo"), Policy()) as recorder,
        closing(
            WorkerProcess(WorkerSettings("oslo", photos, "cpu"), recorder.record_photo_change)
        ) as worker,
    ):
        orders = OrderQueue(worker, recorder)

        def ask() -> Update:
            update = wire.ask(orders, order)
            assert isinstance(update, Update), update
            return update

        yield ask


def test_an_answer_is_given_again_until_a_photo_that_it_is_of_is_deleted(
    asked: Callable[[], Update], photos: Path
) -> None:
    first = asked()
    again = asked()
    assert (first.num_examples, again.seconds) == (
        32,
        first.seconds,
    ), "trained twice for one update"
    for number in range(10):
        (photos / "boot" / f"{number}.png").unlink()
    after = asked()
    assert after.num_examples < 32
    assert not torch.equal(after.params, first.params)
    assert asked().seconds == after.seconds
