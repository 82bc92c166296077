"""Who is there: by a clock that is set by hand."""

import json
from pathlib import Path

from server.presence import FORGOTTEN, PASSED_EVERY, SILENT, Presence, silent_nodes


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_store_that_is_not_heard_of_is_named_until_it_comes_back(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "silent.json"
    presence = Presence(path, clock)
    presence.proven("oslo", 1, is_ours=True)
    presence.proven("roma", 2, is_ours=True)
    clock.now = SILENT[True]
    presence.heard(2)
    clock.now += 1.0
    presence.write()
    assert silent_nodes(path) == {1}
    presence.heard(1)
    presence.write()
    assert silent_nodes(path) == set()


def test_who_waits_for_messages_is_there(tmp_path: Path) -> None:
    clock = Clock()
    presence = Presence(tmp_path / "silent.json", clock)
    presence.proven("oslo", 1, is_ours=True)
    presence.heard(1, held=1)
    clock.now = 10 * SILENT[True]
    assert not presence.is_silent(1)
    presence.heard(1, held=-1)
    clock.now += SILENT[True] + 1
    assert presence.is_silent(1)


def test_flowers_own_supernode_beats_more_slowly(tmp_path: Path) -> None:
    clock = Clock()
    presence = Presence(tmp_path / "silent.json", clock)
    presence.proven("theirs", 1, is_ours=False)
    clock.now = SILENT[True] + 1
    assert not presence.is_silent(1)
    clock.now = SILENT[False] + 1
    assert presence.is_silent(1)


def test_a_key_stands_for_its_node_until_it_leaves(tmp_path: Path) -> None:
    presence = Presence(tmp_path / "silent.json", Clock())
    assert presence.node_of("oslo") == 0
    presence.proven("oslo", 1, is_ours=True)
    assert presence.node_of("oslo") == 1
    presence.left("oslo")
    assert presence.node_of("oslo") == 0


def test_the_superlink_hears_of_a_node_before_it_gives_it_up(tmp_path: Path) -> None:
    clock = Clock()
    presence = Presence(tmp_path / "silent.json", clock)
    assert presence.is_due(1)
    presence.proven("oslo", 1, is_ours=True)
    assert not presence.is_due(1)
    clock.now = PASSED_EVERY + 1
    assert presence.is_due(1)


def test_who_went_long_ago_is_named_no_more(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "silent.json"
    presence = Presence(path, clock)
    presence.proven("oslo", 1, is_ours=True)
    clock.now = FORGOTTEN - 1
    presence.write()
    assert json.loads(path.read_text()) == [1]
    clock.now = FORGOTTEN + 1
    presence.write()
    assert json.loads(path.read_text()) == []
