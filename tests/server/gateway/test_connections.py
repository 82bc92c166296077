"""Connections that have to go for others, and those that are late: numbers by hand."""

import time

import pytest

from fedshelf.server.credentials.rejection_log import RejectionLog
from fedshelf.server.gateway.connections import (
    HEAD_TIMEOUT_SECONDS,
    MAX_CONNECTIONS_PER_STORE,
    MAX_UNPROVEN_CONNECTIONS,
    MIN_BODY_BYTES_PER_SECOND,
    RESERVED_FILE_DESCRIPTORS,
    STALL_TIMEOUT_SECONDS,
    Awaited,
    Connection,
    ConnectionLimits,
)


class Crowd:
    """Opens connections at a limit, and remembers by number which were ended."""

    def __init__(self, files: int) -> None:
        self.limits = ConnectionLimits(RejectionLog(), files)
        self.ended = list[int]()
        self.opened = list[Connection]()

    def open(self, address: str) -> Connection:
        number = len(self.opened)
        self.opened.append(Connection(address, lambda: self.ended.append(number)))
        self.limits.add(self.opened[-1])
        return self.opened[-1]


def test_the_oldest_of_the_address_with_most_goes_first() -> None:
    crowd = Crowd(files=RESERVED_FILE_DESCRIPTORS + 4 * 40)  # room for 40 strangers
    for number in range(30):
        crowd.open(f"10.0.0.{number}")
    for _ in range(10):
        crowd.open("10.9.9.9")
    assert crowd.ended == []
    crowd.open("10.0.0.99")
    assert crowd.ended == [30]
    for number in range(9):
        crowd.open(f"10.0.1.{number}")
    assert crowd.ended == [*range(30, 39), 0]  # all have one: the oldest of all


def test_the_connections_of_stores_are_not_ended_for_strangers() -> None:
    crowd = Crowd(files=20_000)
    store = crowd.open("10.0.0.1")
    crowd.limits.mark_proven(store, "key")
    for number in range(3 * MAX_UNPROVEN_CONNECTIONS):
        crowd.open(f"10.1.{number // 256}.{number % 256}")
    again = crowd.open("10.0.0.1")  # where a store came from before, there is room of its own
    for number in range(3 * MAX_UNPROVEN_CONNECTIONS):
        crowd.open(f"10.2.{number // 256}.{number % 256}")
    assert store not in [crowd.opened[number] for number in crowd.ended]
    assert again not in [crowd.opened[number] for number in crowd.ended]
    assert len(crowd.ended) == 5 * MAX_UNPROVEN_CONNECTIONS


def test_hundreds_of_stores_behind_one_router_keep_their_connections() -> None:
    crowd = Crowd(files=20_000)
    for number in range(1000):
        crowd.limits.mark_proven(crowd.open("10.0.0.1"), f"key {number}")
    assert crowd.ended == []


def test_one_store_has_so_many_connections_and_loses_its_oldest() -> None:
    crowd = Crowd(files=20_000)
    other = crowd.open("10.0.0.2")
    crowd.limits.mark_proven(other, "another")
    for _ in range(MAX_CONNECTIONS_PER_STORE + 2):
        crowd.limits.mark_proven(crowd.open("10.0.0.1"), "key")
    assert crowd.ended == [1, 2]


def test_what_has_ended_takes_no_room() -> None:
    crowd = Crowd(files=RESERVED_FILE_DESCRIPTORS + 4 * 40)
    for number in range(1000):
        connection = crowd.open(f"10.0.{number // 256}.{number % 256}")
        if number % 2:
            crowd.limits.mark_proven(connection, f"key {number}")
        crowd.limits.remove(connection)
        crowd.limits.remove(connection)
    crowd.limits.mark_proven(connection, "key")
    assert crowd.ended == []


@pytest.mark.parametrize("key", ["", "a store's"])
def test_a_body_may_be_slow_and_may_not_stand_still(key: str) -> None:
    connection = Connection("10.0.0.1", lambda: None)
    connection.key = key
    patience = STALL_TIMEOUT_SECONDS[bool(key)]
    before = time.monotonic()
    connection.expect(Awaited.BODY)
    connection.count_received(int(MIN_BODY_BYTES_PER_SECOND) * 1000)
    after = time.monotonic()
    assert not connection.is_overdue(before + patience)
    assert connection.is_overdue(after + patience + 0.001)
    connection._last_byte_at += 900  # more came just then, at a mebibit a second or less
    assert not connection.is_overdue(before + 900 + patience)
    connection._last_byte_at += 10_000  # a byte now and then
    assert connection.is_overdue(after + patience + 1000.001)


def test_headers_come_within_their_time_however_busily() -> None:
    before = time.monotonic()
    connection = Connection("10.0.0.1", lambda: None)
    connection.count_received(1)
    after = time.monotonic()
    assert not connection.is_overdue(before + HEAD_TIMEOUT_SECONDS)
    assert connection.is_overdue(after + HEAD_TIMEOUT_SECONDS + 0.001)
    connection.expect(Awaited.NOTHING)
    assert not connection.is_overdue(after + 10 * HEAD_TIMEOUT_SECONDS)
