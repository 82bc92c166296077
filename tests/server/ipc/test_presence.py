"""Stores that are there, by a clock that is set by hand."""

import json
from pathlib import Path

import pytest

from fedshelf.server.ipc.presence import (
    FORGOTTEN_SECONDS,
    INTERVAL,
    PASSED_EVERY,
    SETTLED,
    SILENT_SECONDS,
    TRIED_EVERY,
    Presence,
    PresenceReader,
)

OSLO = 1
ROMA = 2
KIEL = 3


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presence.json"


def test_a_store_that_is_not_heard_of_is_gone_until_it_comes_back(path: Path, clock: Clock) -> None:
    presence = Presence(path, clock)
    reader = PresenceReader(path)
    presence.proven("oslo", OSLO, is_ours=True)
    presence.proven("roma", ROMA, is_ours=True)
    clock.now = SILENT_SECONDS[True]
    presence.heard(ROMA)
    clock.now += 1.0
    presence.write()
    assert reader.has_changed()
    assert reader.of({OSLO, ROMA}) == {ROMA}
    presence.heard(OSLO)
    presence.write()
    assert reader.has_changed()
    assert reader.of({OSLO, ROMA}) == {OSLO, ROMA}
    presence.write()
    assert not reader.has_changed()


def test_a_door_that_has_just_begun_takes_the_superlinks_word_for_stores_that_it_has_not_heard(
    path: Path, clock: Clock
) -> None:
    """An earlier door was killed, and Kiel with it."""
    presence = Presence(path, clock)
    presence.proven("oslo", OSLO, is_ours=True)
    with presence.waiting(OSLO):
        clock.now = SETTLED
        presence.write()
        assert PresenceReader(path).of({OSLO, KIEL}) == {OSLO, KIEL}
        clock.now += 1.0
        presence.write()
        assert PresenceReader(path).of({OSLO, KIEL}) == {OSLO}


def test_what_cannot_be_read_takes_nobody_out(path: Path) -> None:
    reader = PresenceReader(path)
    assert reader.of({OSLO}) == {OSLO}
    for text in ("", "{", "[]", '{"here": [], "gone": ["x"], "settled": true}'):
        path.write_text(text)
        assert reader.has_changed()
        assert reader.of({OSLO}) == {OSLO}


def test_who_waits_for_messages_is_there(path: Path, clock: Clock) -> None:
    presence = Presence(path, clock)
    presence.proven("oslo", OSLO, is_ours=True)
    with presence.waiting(OSLO):
        clock.now = 10 * SILENT_SECONDS[True]
        assert presence.is_waiting(OSLO)
        assert not presence.is_silent(OSLO)
    clock.now += SILENT_SECONDS[True]
    assert not presence.is_silent(OSLO)
    clock.now += 1
    assert presence.is_silent(OSLO)


def test_the_last_request_of_a_process_that_is_gone_does_not_end_the_wait_of_the_next(
    path: Path, clock: Clock
) -> None:
    presence = Presence(path, clock)
    presence.proven("oslo", OSLO, is_ours=True)
    with presence.waiting(OSLO):
        presence.left("oslo")
        presence.proven("oslo", OSLO, is_ours=True)
        late = presence.waiting(OSLO)
        late.__enter__()
    assert presence.is_waiting(OSLO)
    late.__exit__(None, None, None)
    assert not presence.is_waiting(OSLO)


def test_flowers_own_supernode_beats_more_slowly(path: Path, clock: Clock) -> None:
    presence = Presence(path, clock)
    presence.proven("theirs", OSLO, is_ours=False)
    clock.now = SILENT_SECONDS[True] + 1
    assert not presence.is_silent(OSLO)
    clock.now = SILENT_SECONDS[False] + 1
    assert presence.is_silent(OSLO)


def test_a_key_stands_for_its_node_until_it_leaves(path: Path, clock: Clock) -> None:
    presence = Presence(path, clock)
    assert presence.node_of("oslo") == 0
    presence.proven("oslo", OSLO, is_ours=True)
    assert (presence.node_of("oslo"), presence.is_known(OSLO)) == (OSLO, True)
    presence.left("oslo")
    assert (presence.node_of("oslo"), presence.is_known(OSLO)) == (0, False)


def test_the_superlink_hears_of_a_node_before_it_gives_it_up(path: Path, clock: Clock) -> None:
    presence = Presence(path, clock)
    presence.proven("oslo", OSLO, is_ours=True)
    clock.now = PASSED_EVERY
    assert not presence.begin_passing(OSLO)
    attempts = 0
    while clock.now < 2 * INTERVAL - TRIED_EVERY:  # it does not answer
        clock.now += 5.0
        attempts += presence.begin_passing(OSLO)
    assert attempts == 8
    presence.passed(OSLO)
    clock.now += PASSED_EVERY
    assert not presence.begin_passing(OSLO)
    clock.now += 1.0
    assert presence.begin_passing(OSLO)


def test_who_went_long_ago_is_forgotten(path: Path, clock: Clock) -> None:
    presence = Presence(path, clock)
    presence.proven("oslo", OSLO, is_ours=True)
    clock.now = FORGOTTEN_SECONDS - 1
    presence.write()
    assert json.loads(path.read_text()) == {"here": [], "gone": [OSLO], "settled": True}
    clock.now = FORGOTTEN_SECONDS + 1
    presence.write()
    assert json.loads(path.read_text()) == {"here": [], "gone": [], "settled": True}
    assert PresenceReader(path).of({OSLO}) == set()
