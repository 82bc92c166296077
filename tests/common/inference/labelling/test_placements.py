"""Photos in new places, and back: nothing is overwritten, and a kill at any moment is undone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedshelf.common.errors import DataError
from fedshelf.common.inference.labelling.placements import (
    Action,
    Placement,
    carry_out,
    free_target,
    relative_place,
    undo,
    write_list,
)

# moves three photos of a list, takes the place of the fourth, and ends as by `kill -9`
KILLED = """
import json, os, signal, sys
from pathlib import Path
from fedshelf.common.inference.labelling.placements import Placement, carry_out
rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
for row in rows[:3]:
    carry_out([Placement("move", Path(row["source"]), Path(row["target"]))])
Path(rows[3]["target"]).touch()
os.kill(os.getpid(), signal.SIGKILL)
"""


def place(folder: Path, action: Action) -> tuple[list[Placement], Path]:
    """Five photos, and their places in two folders."""
    (folder / "from").mkdir()
    placements = []
    for number in range(5):
        source = folder / f"from/{number}.jpg"
        source.write_text(f"photo {number}", encoding="utf-8")
        placements.append(Placement(action, source, folder / f"to/{number % 2}/{number}.jpg"))
    return placements, write_list(placements, folder / "to")


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.jpg"))
    }


BEFORE = {f"from/{number}.jpg": f"photo {number}" for number in range(5)}
AFTER = {f"to/{number % 2}/{number}.jpg": f"photo {number}" for number in range(5)}


@pytest.mark.parametrize("action", ["link", "copy", "move"])
def test_all_of_it_can_be_undone(action: Action, tmp_path: Path) -> None:
    placements, list_file = place(tmp_path, action)
    assert carry_out(placements).done == 5
    assert contents(tmp_path) == AFTER | ({} if action == "move" else BEFORE)
    outcome = undo(list_file)
    assert outcome.done == 5
    assert outcome.left_out == []
    assert contents(tmp_path) == BEFORE
    assert list((tmp_path / "to").iterdir()) == []


def test_a_kill_leaves_a_list_that_undoes_what_was_done(tmp_path: Path) -> None:
    _, list_file = place(tmp_path, "move")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(list_file)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "from/2.jpg").exists()
    assert undo(list_file).done == 3
    assert contents(tmp_path) == BEFORE


def test_an_interrupted_move_to_another_disk_is_undone(tmp_path: Path) -> None:
    placements, list_file = place(tmp_path, "move")
    target = placements[0].target
    target.parent.mkdir(parents=True)
    target.write_bytes(placements[0].source.read_bytes())  # copied, and not yet removed there
    undo(list_file)
    assert contents(tmp_path) == BEFORE


@pytest.mark.parametrize("action", ["link", "copy", "move"])
def test_nothing_is_overwritten(action: Action, tmp_path: Path) -> None:
    placements, _ = place(tmp_path, action)
    placements[0].target.parent.mkdir(parents=True)
    placements[0].target.write_text("a person's", encoding="utf-8")
    outcome = carry_out(placements)
    assert outcome.done == 4
    assert outcome.left_out == [(str(placements[0].source), os.strerror(17))]
    assert placements[0].target.read_text(encoding="utf-8") == "a person's"
    assert placements[0].source.read_text(encoding="utf-8") == "photo 0"


def test_undo_leaves_what_a_person_changed(tmp_path: Path) -> None:
    placements, list_file = place(tmp_path, "copy")
    carry_out(placements)
    placements[0].target.write_text("cropped", encoding="utf-8")
    placements[1].source.unlink()
    outcome = undo(list_file)
    assert outcome.done == 3
    assert len(outcome.left_out) == 2
    assert placements[0].target.read_text(encoding="utf-8") == "cropped"
    assert placements[1].target.read_text(encoding="utf-8") == "photo 1"
    assert list_file.exists()


def test_undo_does_not_move_a_photo_over_another(tmp_path: Path) -> None:
    placements, list_file = place(tmp_path, "move")
    carry_out(placements)
    placements[0].source.write_text("a new photo", encoding="utf-8")
    outcome = undo(list_file)
    assert outcome.done == 4
    assert len(outcome.left_out) == 1
    assert placements[0].source.read_text(encoding="utf-8") == "a new photo"
    assert placements[0].target.read_text(encoding="utf-8") == "photo 0"


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"action": "move"}',
        '{"action": "move", "source": "a", "target": "/b"}',
    ],
)
def test_another_file_is_no_list(content: str, tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="is no list"):
        undo(tmp_path / "list.jsonl")


def test_two_photos_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    taken: set[str] = set()
    wanted = ["1.jpg", "1.JPG", "2.jpg", "2.JPG"]
    found = [free_target(tmp_path / name, taken).name for name in wanted]
    assert found == ["1-2.jpg", "1.JPG", "2.jpg", "2-2.JPG"]


def test_a_name_stays_below_the_folder() -> None:
    assert str(relative_place("/a/../../b/1.jpg")) == "a/b/1.jpg"
