"""Orders that get lost are found missing and sent again; stores that must not be asked are not."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import MessageType, RecordDict

from fedshelf.client.failures import StoreError
from fedshelf.client.process.handler import make_app
from fedshelf.client.process.worker_process import WorkerProcess, WorkerSettings
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.config import resolve
from fedshelf.common.errors import StoresError
from fedshelf.common.protocol.failures import MAX_RETRY_AFTER_SECONDS
from fedshelf.common.protocol.messages import EvaluateOrder, Failure, StoreInfo, Update
from fedshelf.common.protocol.serialization import Query, decode_result, encode_order
from fedshelf.server.grid import dispatch, outbox
from fedshelf.server.grid.runtime import GridRuntime
from fedshelf.server.ipc import traffic
from fedshelf.server.ipc.run_mailbox import TRAFFIC, RunFiles
from fedshelf.server.ipc.store_status import StoreStatusFile
from fedshelf.server.training import cohort
from tests.helpers.by_hand import Notes
from tests.helpers.deployed import draw_photos, wait_for
from tests.helpers.grid_stores import CONFIG, PLAN, Doubler, LossyGrid, fails, order


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> LossyGrid:
    for module, pause in ((outbox, "PROBE_AFTER_SECONDS"), (dispatch, "PRESENCE_CHECK_SECONDS")):
        monkeypatch.setattr(module, pause, 0.05)
    return LossyGrid()


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def runtime(lossy: LossyGrid, notes: list[str]) -> GridRuntime:
    return GridRuntime(lossy, CONFIG, "run", notes.append, reconnect_grace=0.0)


def put(grid: LossyGrid, node: int, worker: Doubler, place: Path) -> None:
    grid.apps[node] = make_app(lambda _: worker, FrozenCache(place / str(node)))


@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_order_is_sent_again(
    lossy: LossyGrid, runtime: GridRuntime, tmp_path: Path, times: int
) -> None:
    for node, name in enumerate(("north", "south"), start=10):
        put(lossy, node, Doubler(name), tmp_path)
    wait_for(lambda: len(runtime.stores()) == 2)
    lossy.lose = times
    answers = list(runtime.train(order(), ["north", "south"]))
    assert sorted(answer.store for answer in answers if isinstance(answer, Update)) == [
        "north",
        "south",
    ]
    assert len(answers) == 2


def test_an_answer_of_which_no_door_told_is_found_before_the_order_is_sent_again(
    lossy: LossyGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has answered, so it says that it has nothing to do."""
    monkeypatch.setattr(dispatch, "MIN_POLL_ALL_SECONDS", 1000.0)
    lossy.forgets = True
    runtime = GridRuntime(
        lossy,
        CONFIG,
        "run",
        lambda _: None,
        RunFiles(upload_log=tmp_path / "answered.jsonl"),
        reconnect_grace=0.0,
    )
    put(lossy, 10, Doubler("north"), tmp_path)
    wait_for(runtime.stores)
    answers = iter(runtime.train(order(), ["north"]))
    wait_for(lambda: lossy.sent[-1].metadata.message_id in lossy.replies)
    assert [type(answer) for answer in answers] == [Update]
    assert [message.metadata.message_type for message in lossy.sent].count(MessageType.TRAIN) == 1


def test_how_far_a_long_answer_is_shows_beside_its_store(
    lossy: LossyGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The door has written that 3 of the order's 8 bytes have come in 10 s; the board says so in
    MB.
    """
    monkeypatch.setattr(traffic, "ALIVE", 1e9)
    board = tmp_path / "stores.json"
    now = time.time()
    runtime = GridRuntime(
        lossy,
        CONFIG,
        "run",
        lambda _: None,
        RunFiles(store_status=board, upload_log=tmp_path / "answered.jsonl"),
        reconnect_grace=0.0,
    )
    put(lossy, 10, Doubler("north"), tmp_path)
    wait_for(runtime.stores)
    (tmp_path / TRAFFIC).write_text(
        json.dumps({10: {"way": "up", "bytes": 3, "since": now - 10, "last": now}})
    )
    lossy.lose = 1
    monkeypatch.setattr(outbox, "PROBE_AFTER_SECONDS", 1e9)
    under_way = runtime._dispatch(order(), 60.0)
    under_way.post(["north"])

    def shown() -> str:
        under_way._check_in_flight()
        return str(json.loads(board.read_text())["north"]["why"])

    assert wait_for(shown) == "sending its answer: 0 of 0 MB, 3e-07 MB/s, 17 s left"


def test_an_order_that_is_lost_for_ever_ends(
    lossy: LossyGrid, runtime: GridRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MAX_RESENDS", 3)
    put(lossy, 10, Doubler("north"), tmp_path)
    wait_for(runtime.stores)
    lossy.lose = 99
    assert list(runtime.train(order(), ["north"])) == [
        Failure("north", "timeout", "lost its order 3 times")
    ]


def test_the_next_order_goes_out_with_the_evaluation_and_is_not_sent_twice(
    lossy: LossyGrid, runtime: GridRuntime, tmp_path: Path
) -> None:
    put(lossy, 10, Doubler("north"), tmp_path)
    wait_for(runtime.stores)
    next_order = order(2)
    runtime.prefetch_training(next_order, ["north"])
    assert len(list(runtime.evaluate(EvaluateOrder(PLAN, 1, torch.ones(2)), ["north"]))) == 1
    assert len(list(runtime.train(next_order, ["north"]))) == 1
    kinds = [message.metadata.message_type for message in lossy.sent]
    assert kinds.count(MessageType.TRAIN) == 1
    assert kinds.index(MessageType.EVALUATE) < kinds.index(MessageType.TRAIN)


def test_a_store_that_rests_is_not_asked_until_it_has_rested(
    lossy: LossyGrid, runtime: GridRuntime, notes: list[str], tmp_path: Path
) -> None:
    for node, (name, rest) in enumerate({"north": 3600, "south": 1}.items(), start=10):
        put(
            lossy,
            node,
            Doubler(
                name, fails(StoreError("policy", "Not before ten.", "hours", retry_after=rest))
            ),
            tmp_path,
        )
    wait_for(lambda: len(runtime.stores()) == 2)
    began = time.monotonic()
    answers = [
        answer
        for answer in runtime.train(order(), ["north", "south"])
        if isinstance(answer, Failure)
    ]
    assert {answer.store: (answer.code, answer.retry_after) for answer in answers} == {
        "north": ("policy", 3600),
        "south": ("policy", 1),
    }
    assert "north" not in runtime.stores()
    assert "its policy does not allow it (hours), until" in runtime.held_back()["north"]
    assert "its policy does not allow it (hours)" in notes[-1]
    present = cohort.wait_for_quorum(
        runtime, 1, 1, 0.1, Notes(), lambda: False
    )  # longer than it would wait for others
    assert list(present) == ["south"]
    assert list(runtime.held_back()) == ["north"]
    assert time.monotonic() - began > 0.9


def test_a_store_that_will_never_take_part_is_not_waited_for(
    lossy: LossyGrid, runtime: GridRuntime, tmp_path: Path
) -> None:
    unwilling = Doubler(
        "north",
        fails(
            StoreError("policy", "Not this model.", "models", retry_after=MAX_RETRY_AFTER_SECONDS)
        ),
    )
    put(lossy, 10, unwilling, tmp_path)
    wait_for(runtime.stores)
    assert len(list(runtime.train(order(), ["north"]))) == 1
    with pytest.raises(StoresError, match="0 of the 1 stores needed"):
        cohort.wait_for_quorum(runtime, 1, 1, 0.1, Notes(), lambda: False)


def test_a_store_that_is_set_aside_is_asked_nothing_more_and_told_why(
    lossy: LossyGrid, runtime: GridRuntime, tmp_path: Path
) -> None:
    put(lossy, 10, Doubler("north"), tmp_path)
    wait_for(runtime.stores)
    runtime.exclude("north", "three bad answers")
    assert dict(runtime.stores()) == {}
    assert runtime.held_back() == {"north": "it is set aside"}
    assert "three bad answers" in str(lossy.sent[-1].content["header"])


def test_only_enrolled_stores_count_and_only_under_their_own_names(
    lossy: LossyGrid, tmp_path: Path
) -> None:
    enrolled = {10: "north", 11: "south"}
    runtime = GridRuntime(lossy, CONFIG, "run", lambda _: None, RunFiles(enrolled=lambda: enrolled))
    put(lossy, 10, Doubler("north"), tmp_path)
    put(lossy, 11, Doubler("north"), tmp_path)  # another store's name
    put(lossy, 12, Doubler("west"), tmp_path)  # nobody has let it in
    assert list(wait_for(runtime.stores)) == ["north"]
    assert not {12} & {message.metadata.dst_node_id for message in lossy.sent}


def test_the_board_says_how_stores_are(tmp_path: Path) -> None:
    board = StoreStatusFile(tmp_path / "stores.json")
    board.put("north", "ready", images=5)
    board.put("north", "training", round=3)
    board.flush(at_once=True)
    text = (tmp_path / "stores.json").read_text()
    assert '"state": "training"' in text
    assert '"images": 5' in text


# ---------------------------------------------------------------------- the store's worker process


class Deadly(WorkerProcess):
    """The process that gets an order dies of it, as often as `deaths` says."""

    deaths = 0

    def _exchange(self, job: Any) -> RecordDict | None:
        if isinstance(job, RecordDict) and self.deaths:
            self.deaths -= 1
            self._process.kill()
            self._process.join()
        return super()._exchange(job)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deadly]:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "home"))
    photos = draw_photos(tmp_path / "photos", ["boot", "hat"], per_class=4)
    with closing(Deadly(WorkerSettings("north", photos, "cpu"), lambda _: None)) as worker:
        yield worker


def test_a_worker_process_that_dies_is_replaced(worker: Deadly) -> None:
    """Twice of one order is once too often; the next order is done again."""
    question = encode_order(Query("run", resolve({"data.image_size": 32})))
    before = decode_result(worker.carry_out(question))
    assert isinstance(before, StoreInfo)
    worker.deaths = 1
    assert decode_result(worker.carry_out(question)) == before
    worker.deaths = 2
    failed = decode_result(worker.carry_out(question))
    assert isinstance(failed, Failure)
    assert failed.code == "crashed"
    assert decode_result(worker.carry_out(question)) == before
