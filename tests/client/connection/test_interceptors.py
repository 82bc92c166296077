"""Requests for messages that a server keeps back are signs of life, for as long as it says that it
keeps them.
"""

from collections.abc import Callable

import httpx
import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.supercore.protobuf.client import ProtobufRequestContext

from fedshelf.client.connection import interceptors
from fedshelf.client.connection.interceptors import PollInterval
from fedshelf.common.protocol.enrolment import HELD_HEADER

PULL = ProtobufRequestContext(
    "/flwr.proto.Fleet/PullMessages", PullMessagesRequest(), httpx.Request("POST", "http://x")
)


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(interceptors, "time", clock := Clock())
    return clock


def poll(
    polls: PollInterval, told: str | None, meanwhile: Callable[[], object] = lambda: None
) -> None:
    def answer(_: ProtobufRequestContext) -> httpx.Response:
        meanwhile()
        return httpx.Response(200, headers={HELD_HEADER: told} if told is not None else {})

    polls.intercept(PULL, answer)


def test_a_poll_is_a_sign_of_life_while_it_is_held_and_for_a_while_after(clock: Clock) -> None:
    polls = PollInterval()
    found = dict[float, bool]()
    poll(polls, "25")

    def wait() -> None:
        for passed in (0.0, 29.0, 31.0):
            clock.now = 100.0 + passed
            found[passed] = polls.proves_liveness(5.0)

    poll(polls, "25", wait)
    assert found == {0.0: True, 29.0: True, 31.0: False}, "after 30 s its link is broken"
    clock.now = 131.0 + 4.0
    assert polls.proves_liveness(5.0)
    clock.now = 131.0 + 6.0
    assert not polls.proves_liveness(5.0)


@pytest.mark.parametrize(
    ("told", "is_held"),
    [(None, False), ("0", False), ("soon", False), ("nan", False), ("25", True), ("0.5", True)],
)
@pytest.mark.usefixtures("clock")
def test_the_server_says_whether_it_holds_polls(told: str | None, is_held: bool) -> None:
    polls = PollInterval()
    poll(polls, told)
    assert polls.is_held == is_held
    assert polls.proves_liveness(5.0) == is_held
