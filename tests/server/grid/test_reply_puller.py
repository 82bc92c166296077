"""Answers that are taken in: those that never come keep no others waiting, nor what comes in their
place.
"""

from collections.abc import Iterable
from threading import Event

import pytest
from flwr.app import Message, RecordDict

from fedshelf.server.grid import reply_puller
from fedshelf.server.grid.reply_puller import MAX_SLOW_PULLS, ReplyPuller
from tests.helpers.deployed import LocalGrid, wait_for


class Halting(LocalGrid):
    """Waits for the first answer to each message until released, as Flower does for pieces that
    were dropped; what is announced anew it hands out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.halted = set[str]()
        self.released = Event()

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        asked = set(message_ids)
        if new := asked - self.halted:
            self.halted |= new
            self.released.wait()
            return []
        return super().pull_messages(asked)


def test_answers_that_never_come_whole_keep_no_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (
        ("SLOW_REPLY_SECONDS", 0.01),
        ("SLOW_SECONDS_PER_REPLY", 0.0),
        ("STUCK_PULL_SECONDS", 0.05),
    ):
        monkeypatch.setattr(reply_puller, name, value)
    grid = Halting()
    missing = {f"order-{number}" for number in range(3 * MAX_SLOW_PULLS)}
    for identity in missing:
        order = Message(RecordDict(), 10, "query")
        order.metadata.__dict__["_message_id"] = identity
        grid.replies[identity] = Message(RecordDict(), reply_to=order)
    found = ReplyPuller(grid)

    def are_all_there() -> bool:
        missing.difference_update(
            [each.metadata.reply_to_message_id for each in found.pull(sorted(missing), 1)]
        )
        return not missing

    wait_for(are_all_there)
    grid.released.set()
