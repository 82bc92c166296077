"""Whatever a store does, the server's runtime gets one answer per store asked, and says why if it
is a failure.
"""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedshelf.client.failures import StoreError
from fedshelf.client.process.handler import make_app
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.errors import DataError
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    Plan,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.serialization import Notice, decode_order
from fedshelf.server.grid import dispatch
from fedshelf.server.grid.runtime import GridRuntime
from fedshelf.server.ipc.run_mailbox import RunFiles
from tests.helpers.deployed import LocalGrid, wait_for
from tests.helpers.grid_stores import CONFIG, PLAN, SPEC, Doubler, fails, order


@pytest.fixture
def add(grid: LocalGrid, tmp_path: Path) -> Callable[..., None]:
    """Puts a store on the grid."""

    def add(worker: Doubler) -> None:
        cache = FrozenCache(tmp_path / str(len(grid.apps)))
        grid.apps[10 + len(grid.apps)] = make_app(lambda _: worker, cache)

    return add


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def runtime(grid: LocalGrid, notes: list[str]) -> GridRuntime:
    return GridRuntime(grid, CONFIG, "run", notes.append, reconnect_grace=0.0)


def gathered(runtime: GridRuntime, *names: str) -> None:
    wait_for(lambda: set(runtime.stores()) == set(names))


def test_stores_are_known_by_what_they_say(runtime: GridRuntime, add: Callable[..., None]) -> None:
    add(Doubler("north"))
    add(Doubler("south"))
    gathered(runtime, "north", "south")
    assert runtime.stores()["north"] == StoreInfo("north", {"boot": 3, "hat": 4}, 2, 1)


def test_each_store_asked_answers_once(runtime: GridRuntime, add: Callable[..., None]) -> None:
    for name in ("north", "south", "west"):
        add(Doubler(name))
    gathered(runtime, "north", "south", "west")
    updates = {update.store: update for update in runtime.train(order(3), ["south", "west"])}
    assert sorted(updates) == ["south", "west"]
    update = updates["south"]
    assert isinstance(update, Update)
    assert (update.params.tolist(), update.round, update.num_examples) == ([2.0, 4.0], 3, 7)
    evaluations = list(runtime.evaluate(EvaluateOrder(PLAN, 3, torch.ones(2)), ["north"]))
    assert [
        (each.store, each.counts.num_examples)
        for each in evaluations
        if isinstance(each, Evaluation)
    ] == [("north", 2)]


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (StoreError("unknown-class", "/srv/photos/coat is new"), "unknown-class", None),
        (
            StoreError("policy", "Not before 22:00, see /srv/policy", "hours"),
            "policy",
            "its policy does not allow it (hours)",
        ),
        (
            DataError("No photo in /srv/photos/aldi."),
            "data",
            "its images cannot be used; its own log says why",
        ),
        (torch.OutOfMemoryError("at /srv"), "out-of-memory", None),
        (FileNotFoundError(2, "no such file", "/srv/photos/x.jpg"), "error", None),
        (OSError(28, "no space", "/srv/cache"), "disk-full", "its disk is full"),
        (ZeroDivisionError("secret"), "error", None),
    ],
)
def test_a_failing_store_says_why_but_never_where(
    runtime: GridRuntime, add: Callable[..., None], error: Exception, code: str, reason: str | None
) -> None:
    add(Doubler("north", fails(error)))
    add(Doubler("south"))
    gathered(runtime, "north", "south")
    answers = {answer.store: answer for answer in runtime.train(order(), ["north", "south"])}
    failure = answers["north"]
    assert isinstance(failure, Failure)
    assert failure.code == code
    assert reason in (None, failure.reason)
    assert "srv" not in failure.reason
    assert "secret" not in failure.reason
    assert isinstance(answers["south"], Update)


def test_a_store_that_is_too_late_has_failed_and_is_not_heard_any_more(
    grid: LocalGrid, add: Callable[..., None], notes: list[str]
) -> None:
    go_on = threading.Event()

    def slow(order: TrainOrder) -> Update:
        go_on.wait(30)
        return Update("north", order.round, order.params, 1, 0.0, 0.0)

    runtime = GridRuntime(grid, resolve({"cohort.timeout": 0.3}), "run", notes.append)
    add(Doubler("north", slow))
    add(Doubler("south"))
    gathered(runtime, "north", "south")
    first = {answer.store: answer for answer in runtime.train(order(1), ["north", "south"])}
    assert first["north"] == Failure("north", "timeout", "no answer within 0.3 s")
    # nothing stale is begun
    assert [message.metadata.ttl for message in grid.sent[-2:]] == [pytest.approx(1.0)] * 2
    go_on.set()
    second = [answer for answer in runtime.train(order(2), ["north"]) if isinstance(answer, Update)]
    assert [update.round for update in second] == [2]


def test_a_store_that_trained_on_more_images_than_it_told_of_is_asked_anew(
    runtime: GridRuntime, add: Callable[..., None], notes: list[str]
) -> None:
    class Growing(Doubler):
        """A store to which photos are added before it trains."""

        photos = 7

        def info(self, config: RunConfig) -> StoreInfo:
            return StoreInfo(self.name, {"boot": 3, "hat": self.photos - 3}, 2, 1)

        def train(self, order: TrainOrder) -> Update:
            self.photos = 9
            return replace(super().train(order), num_examples=9)

    add(Growing("north"))
    gathered(runtime, "north")
    assert [type(answer) for answer in runtime.train(order(), ["north"])] == [Update]
    wait_for(lambda: runtime.stores()["north"] == StoreInfo("north", {"boot": 3, "hat": 6}, 2, 1))
    assert notes == []


def test_a_store_that_is_gone_is_unavailable(
    runtime: GridRuntime, grid: LocalGrid, add: Callable[..., None]
) -> None:
    add(Doubler("north"))
    gathered(runtime, "north")
    grid.apps.clear()
    gathered(runtime)
    assert list(runtime.train(order(), ["north"])) == [
        Failure("north", "unavailable", "not connected")
    ]


def test_stores_that_go_between_the_look_and_the_order_are_unavailable_at_once(
    runtime: GridRuntime, grid: LocalGrid, add: Callable[..., None]
) -> None:
    for name in ("north", "south", "west"):
        add(Doubler(name))
    gathered(runtime, "north", "south", "west")
    del grid.apps[10], grid.apps[11]
    answers = {
        answer.store: answer for answer in runtime.train(order(), ["north", "south", "west"])
    }
    assert isinstance(answers.pop("west"), Update)
    assert answers == {
        name: Failure(name, "unavailable", "not connected") for name in ("north", "south")
    }
    judged = runtime.evaluate(EvaluateOrder(PLAN, 1, torch.ones(2)), ["north", "south"])
    assert {answer.store: getattr(answer, "code", "") for answer in judged} == dict.fromkeys(
        answers, "unavailable"
    )


def test_a_store_that_confirms_an_order_before_its_parts_are_there_harms_no_other(
    runtime: GridRuntime, grid: LocalGrid, add: Callable[..., None]
) -> None:
    for name in ("north", "south", "west"):
        add(Doubler(name))
    gathered(runtime, "north", "south", "west")
    grid.early.add(11)
    answers = {
        answer.store: answer for answer in runtime.train(order(), ["north", "south", "west"])
    }
    assert answers.pop("south") == Failure("south", "unavailable", "not connected")
    assert all(isinstance(answer, Update) for answer in answers.values())


def test_the_second_store_of_one_name_is_refused_and_told(
    runtime: GridRuntime, grid: LocalGrid, add: Callable[..., None], notes: list[str]
) -> None:
    add(Doubler("north"))
    gathered(runtime, "north")
    add(Doubler("north"))
    wait_for(lambda: runtime.stores() and notes)
    assert notes == ["A second store named 'north' is refused."]
    told = [
        message
        for message in grid.sent
        if isinstance(decode_order(message.content, FrozenCache()), Notice)
    ]
    assert [message.metadata.dst_node_id for message in told] == [11]
    assert len(list(runtime.train(order(), ["north"]))) == 1


def test_a_store_that_comes_back_takes_the_place_of_its_ghost(
    grid: LocalGrid, add: Callable[..., None], notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fedshelf.server.grid.runtime.PRESENCE_FRESH_SECONDS", 0.0
    )  # a look that is not new would still see the ghost
    runtime = GridRuntime(grid, CONFIG, "run", notes.append)
    add(Doubler("north", fails(ZeroDivisionError())))
    gathered(runtime, "north")
    add(Doubler("north"))
    wait_for(lambda: runtime.stores() and len(grid.sent) == 2)
    del grid.apps[10]
    gathered(runtime, "north")
    assert [type(answer) for answer in runtime.train(order(), ["north"])] == [Update]
    assert notes == []


@pytest.mark.parametrize("name", ["../../etc", "", " north", "a" * 64, "north\n"])
def test_a_name_that_cannot_be_used_is_refused(
    runtime: GridRuntime, add: Callable[..., None], notes: list[str], name: str
) -> None:
    add(Doubler(name))
    wait_for(lambda: runtime.stores() or notes)
    assert runtime.stores() == {}
    assert "cannot be used" in notes[0]


def test_a_store_answers_for_itself_only(runtime: GridRuntime, add: Callable[..., None]) -> None:
    add(Doubler("north", lambda order: Update("south", order.round, order.params, 10**9, 0.0, 0.0)))
    gathered(runtime, "north")
    assert list(runtime.train(order(), ["north"])) == [
        Failure("north", "invalid", "answered as 'south'")
    ]


def test_frozen_parameters_reach_each_store_once(
    runtime: GridRuntime, grid: LocalGrid, add: Callable[..., None]
) -> None:
    seen: list[list[float]] = []

    def train(order: TrainOrder) -> Update:
        assert order.plan.frozen is not None
        seen.append(order.plan.frozen.tolist())
        return Update("north", order.round, order.params, 1, 0.0, 0.0)

    add(Doubler("north", train))
    gathered(runtime, "north")
    plan = Plan("run", CONFIG, SPEC, torch.tensor([3.0, 4.0]))
    for number in (1, 2):
        assert [type(answer) for answer in runtime.train(order(number, plan), ["north"])] == [
            Update
        ]
    assert seen == [[3.0, 4.0]] * 2
    assert len(list(training_orders(grid))) == 3  # the first, again with the array, the second


def test_the_servers_own_files_stay_unnamed(grid: LocalGrid, add: Callable[..., None]) -> None:
    secret = {
        "run.out": "/srv/runs/x",
        "evaluation.test_data": "/srv/photos",
        "model.weights": "/srv/w.safetensors",
    }
    config = resolve(secret, {"train.lr": 0.5})
    runtime = GridRuntime(grid, config, "run", lambda _: None, reconnect_grace=0.0)
    add(Doubler("north"))
    gathered(runtime, "north")
    assert [
        type(answer) for answer in runtime.train(order(1, Plan("run", config, SPEC)), ["north"])
    ] == [Update]
    orders = [decode_order(message.content, FrozenCache()) for message in grid.sent]
    assert [type(each).__name__ for each in orders] == ["Query", "TrainOrder"]
    assert not any("/srv" in repr(each) for each in orders)
    assert orders[1].plan.config.train.lr == 0.5


def training_orders(grid: LocalGrid) -> Iterator[str]:
    return (
        message.metadata.message_id
        for message in grid.sent
        if message.metadata.message_type == "train"
    )


@pytest.fixture
def told(grid: LocalGrid, add: Callable[..., None], tmp_path: Path) -> Callable[..., GridRuntime]:
    """A runtime with two stores, north and south, and a door that tells it of answers in
    `answered.jsonl`.
    """

    def told() -> GridRuntime:
        runtime = GridRuntime(
            grid,
            CONFIG,
            "run",
            lambda _: None,
            RunFiles(upload_log=tmp_path / "answered.jsonl"),
            reconnect_grace=0.0,
        )
        add(Doubler("north"))
        add(Doubler("south"))
        gathered(runtime, "north", "south")
        return runtime

    return told


def test_only_answers_are_asked_for_of_which_the_door_tells(
    grid: LocalGrid,
    told: Callable[..., GridRuntime],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "MIN_POLL_ALL_SECONDS", 1000.0)
    answers = iter(told().train(order(), ["north", "south"]))
    north, south = (message.metadata.message_id for message in grid.sent[-2:])
    wait_for(lambda: {north, south} <= grid.replies.keys())
    for identity, name in ((south, "south"), (north, "north")):
        with (tmp_path / "answered.jsonl").open("a") as file:
            file.write(json.dumps({"complete": identity}) + "\n")
        grid.asked.clear()
        assert next(answers).store == name
        assert grid.asked == [identity]
    assert list(answers) == []


def test_an_answer_of_which_nobody_told_is_found_in_the_end(
    told: Callable[..., GridRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MIN_POLL_ALL_SECONDS", 0.1)
    assert {each.store for each in told().train(order(), ["north", "south"])} == {"north", "south"}


def test_a_store_that_dies_in_the_middle_of_its_answer_is_given_up_and_harms_no_other(
    grid: LocalGrid,
    told: Callable[..., GridRuntime],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, seconds in {
        "MIN_POLL_ALL_SECONDS": 0.05,
        "PRESENCE_CHECK_SECONDS": 0.05,
        "MIN_UPLOAD_GRACE_SECONDS": 0.5,
    }.items():
        monkeypatch.setattr(dispatch, name, seconds)
    answers = iter(told().train(order(), ["north", "south"]))
    node = grid.sent[-1].metadata.dst_node_id
    half = grid.sent[-1].metadata.message_id
    with (tmp_path / "answered.jsonl").open("a") as file:
        file.write(json.dumps({"begun": half}) + "\n")
    grid.asked.clear()
    assert isinstance(next(answers), Update)
    del grid.apps[node]
    failure = next(answers)
    assert isinstance(failure, Failure)
    assert (failure.code, failure.reason) == ("unavailable", "lost the connection")
    assert half not in grid.asked
    assert list(answers) == []
