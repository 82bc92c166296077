"""One request to stop ends each wait for stores."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fedshelf.client.process.handler import make_app
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.errors import StoppedError
from fedshelf.common.protocol.messages import EvaluateOrder, Failure, StoreInfo, TrainOrder, Update
from fedshelf.server import answer_deadline
from fedshelf.server.grid.runtime import GridRuntime
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.training.run import StopRequest
from tests.helpers.by_hand import ONE, Notes, Targets, plan_of, vector
from tests.helpers.deployed import LocalGrid, wait_for
from tests.helpers.grid_stores import CONFIG, PLAN, Doubler, order


def test_a_store_that_goes_on_for_long_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wait in ("ROUND_STOP_SECONDS", "EVALUATION_STOP_SECONDS"):
        monkeypatch.setattr(answer_deadline, wait, 0.1)
    go_on = threading.Event()
    is_stopped = threading.Event()
    grid = LocalGrid()

    def slow(order: TrainOrder) -> Update:
        is_stopped.set()
        go_on.wait(100)
        return Update("north", order.round, order.params, 1, 0.0, 0.0)

    class Slow(Doubler):
        def evaluate(self, order: EvaluateOrder) -> Any:
            return slow(order)  # type: ignore[arg-type]

    grid.apps[10] = make_app(lambda _: Slow("north", slow), FrozenCache(tmp_path))
    runtime = GridRuntime(
        grid, CONFIG, "run", lambda _: None, reconnect_grace=0.0, stop=is_stopped.is_set
    )
    wait_for(runtime.stores)
    with pytest.raises(
        StoppedError, match=r"^north: no answer within 0.1 s of the request to stop$"
    ):
        list(runtime.train(order(), ["north"]))
    (answer,) = runtime.evaluate(EvaluateOrder(PLAN, 1, torch.ones(2)), ["north"])
    go_on.set()
    assert answer == Failure("north", "timeout", "no answer within 0.1 s of the request to stop")


def test_a_wait_for_a_quorum_ends() -> None:
    asked = StopRequest(Notes())

    class Lonely(Targets):
        """The second of the two stores needed does not come; whoever has looked for it is asked to
        stop.
        """

        def stores(self) -> Mapping[str, StoreInfo]:
            asked.request()
            return super().stores()

    runtime = Lonely({"a": 4.0})
    rounds = RoundLoop(plan_of(cohort__min_stores=2), ONE, runtime, Notes(), asked)
    with pytest.raises(StoppedError, match=r"^1 of the 2 stores needed had joined \(a\)$"):
        rounds.play(rounds.initial_state(vector(0.0)))
    assert runtime.asked == []


def test_a_round_without_a_quorum_is_not_tried_again() -> None:
    asked = StopRequest(Notes())

    class Refusing(Targets):
        def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
            asked.request()
            return super().train(order, stores)

    runtime = Refusing({"a": 4.0, "b": 8.0})
    runtime.broken = {"b": Failure("b", "data", "its images cannot be used")}
    rounds = RoundLoop(plan_of(cohort__min_stores=2), ONE, runtime, Notes(), asked)
    with pytest.raises(
        StoppedError, match=r"^1 of 2 updates needed; b: its images cannot be used$"
    ):
        rounds.play(rounds.initial_state(vector(0.0)))
    assert runtime.asked == [["a", "b"]]
