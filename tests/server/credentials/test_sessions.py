"""One process speaks for each store, by the server's clock alone: restarts, backups, copies of a
home.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.common.protocol.enrolment import RefusalReason, process_header
from fedshelf.server.credentials.sessions import (
    MAX_MISSED_SIGNS,
    SLACK_SECONDS,
    Sessions,
    read_sessions,
)

FIRST = "a" * 32
COPY = "b" * 32
THIRD = "c" * 32
BEAT = 5.0
SILENCE = MAX_MISSED_SIGNS * BEAT + SLACK_SECONDS


class Clock:
    time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(tmp_path: Path, clock: Clock) -> Sessions:
    return Sessions(tmp_path / "sessions.json", clock)


def heard(sessions: Sessions, process: str, key: str = "key") -> RefusalReason | None:
    return sessions.refusal("oslo-7", key, process_header(process, BEAT), "192.0.2.1")


def alternate(
    sessions: Sessions, clock: Clock, processes: Sequence[str], seconds: float
) -> list[list[RefusalReason | None]]:
    """Return the answers that each of the processes gets at its beats, for a while; the first one
    speaks already.
    """
    told: list[list[RefusalReason | None]] = [[] for _ in processes]
    for _ in range(int(seconds // BEAT)):
        clock.time += BEAT
        for process, reasons in zip(processes, told, strict=True):
            reasons.append(heard(sessions, process))
    return told


def test_of_two_that_both_go_on_the_later_one_is_refused(
    sessions: Sessions, clock: Clock, tmp_path: Path
) -> None:
    assert heard(sessions, FIRST) is None
    first, copy = alternate(sessions, clock, [FIRST, COPY], 60)
    assert first == [None] * 12
    assert copy == [RefusalReason.MAYBE_IN_USE] * 3 + [RefusalReason.IN_USE] * 9, (
        "the first is still heard 15 s after the copy came"
    )
    kept = read_sessions(tmp_path / "sessions.json")["oslo-7"]
    assert (kept.process, kept.refused_from) == (FIRST, "192.0.2.1")
    assert kept.refused
    assert (tmp_path / "sessions.json").stat().st_mode & 0o777 == 0o600


def test_three_copies_do_not_hide_each_other(sessions: Sessions, clock: Clock) -> None:
    assert heard(sessions, FIRST) is None
    first, *others = alternate(sessions, clock, [FIRST, COPY, THIRD], 60)
    assert set(first) == {None}
    assert [told[-1] for told in others] == [RefusalReason.IN_USE] * 2


def test_a_store_that_was_killed_is_back_once_the_silence_is_over(
    sessions: Sessions, clock: Clock
) -> None:
    assert heard(sessions, FIRST) is None
    clock.time += 1
    assert heard(sessions, COPY) is RefusalReason.MAYBE_IN_USE
    clock.time += SILENCE - 1
    assert heard(sessions, COPY) is RefusalReason.MAYBE_IN_USE
    clock.time += 0.1
    assert heard(sessions, COPY) is None
    assert heard(sessions, FIRST) is RefusalReason.MAYBE_IN_USE, (
        "a late packet of it changes nothing"
    )
    assert heard(sessions, COPY) is None


def test_a_store_that_took_leave_or_has_a_new_key_is_waited_for_by_nobody(
    sessions: Sessions,
) -> None:
    assert heard(sessions, FIRST) is None
    sessions.record_departure("oslo-7", process_header(COPY, BEAT))
    assert heard(sessions, COPY) is RefusalReason.MAYBE_IN_USE, (
        "only the one that speaks can take leave"
    )
    sessions.record_departure("oslo-7", process_header(FIRST, BEAT))
    assert heard(sessions, COPY) is None
    assert heard(sessions, THIRD, key="a new kit's") is None


def test_a_cut_link_costs_a_store_its_place_only_if_another_comes(
    sessions: Sessions, clock: Clock
) -> None:
    assert heard(sessions, FIRST) is None
    clock.time += 3600
    assert heard(sessions, FIRST) is None
    clock.time += 3600
    assert heard(sessions, COPY) is None
    copy, first = alternate(sessions, clock, [COPY, FIRST], 60)
    assert set(copy) == {None}
    assert first[-1] is RefusalReason.IN_USE


def test_a_process_whose_request_is_held_back_is_heard_all_the_time(
    sessions: Sessions, clock: Clock
) -> None:
    assert heard(sessions, FIRST) is None
    answers = []
    for _ in range(4):
        clock.time += BEAT
        sessions.record_sign_of_life("oslo-7")
        answers.append(heard(sessions, COPY))
    assert answers == [RefusalReason.MAYBE_IN_USE] * 3 + [RefusalReason.IN_USE]


def test_a_server_that_starts_again_knows_who_came_first(
    sessions: Sessions, clock: Clock, tmp_path: Path
) -> None:
    assert heard(sessions, FIRST) is None
    clock.time += 2
    again = Sessions(tmp_path / "sessions.json", clock)
    assert heard(again, COPY) is RefusalReason.MAYBE_IN_USE
    assert heard(again, FIRST) is None
    third = Sessions(tmp_path / "sessions.json", clock)
    clock.time += SILENCE + 0.1
    assert heard(third, COPY) is None, "the first one did not come back"


@pytest.mark.parametrize(
    "told",
    ["", "x", f"{FIRST}", f"{FIRST} -1", f"{FIRST} 1000", f"{FIRST.upper()} 5", "٣" * 32 + " 5"],
)
def test_a_client_that_tells_nothing_sensible_takes_nobodys_place(
    sessions: Sessions, told: str
) -> None:
    assert heard(sessions, FIRST) is None
    assert sessions.refusal("oslo-7", "key", told, "192.0.2.1") is None
    assert heard(sessions, FIRST) is None


@pytest.mark.parametrize("text", ["", "{", '{"sessions": []}', "\0"])
def test_a_damaged_file_begins_anew(tmp_path: Path, clock: Clock, text: str) -> None:
    (tmp_path / "sessions.json").write_text(text)
    assert heard(Sessions(tmp_path / "sessions.json", clock), FIRST) is None


@given(
    st.lists(
        st.tuples(st.sampled_from([FIRST, COPY, THIRD]), st.floats(0, 2 * SILENCE)), max_size=40
    )
)
@settings(max_examples=100, deadline=None)
def test_two_never_speak_within_the_silence(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, float]]
) -> None:
    clock = Clock()
    sessions = Sessions(tmp_path_factory.mktemp("chain") / "sessions.json", clock)
    speaker = ""
    last = -SILENCE
    for process, pause in calls:
        clock.time += pause
        if heard(sessions, process) is None:
            assert process == speaker or clock.time - last > SILENCE
            speaker = process
            last = clock.time
        else:
            assert process != speaker
