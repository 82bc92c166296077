"""The files that a round enters are counted from notes of calls; here the notes are few."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.files_of_a_round import CALL_NOTES, by_part, entered, read, span

PROGRAM = """
from house import kitchen, hall

for _ in range(2):
    hall.play()
"""
KITCHEN = """
from dataclasses import dataclass

@dataclass
class Dish:
    name: str

def cook():
    return Dish("soup")
"""
HALL = """
import time
from threading import Thread
from house import kitchen

class Loop:
    done = 0

    def play(self):
        time.sleep(0.01)
        self.done += 1
        if self.done == 2:
            worker = Thread(target=kitchen.cook)
            worker.start()
            worker.join()

play = Loop().play
"""


def test_files_are_noted_that_a_function_of_any_thread_enters(tmp_path: Path) -> None:
    house = tmp_path / "house"
    notes = tmp_path / "notes"
    for folder in (house, notes):
        folder.mkdir()
    files = {"__init__": "", "kitchen": KITCHEN, "hall": HALL, "cellar": "import os"}
    for name, content in files.items():
        (house / f"{name}.py").write_text(content)
    subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        check=True,
        env=os.environ
        | {
            "PYTHONPATH": str(CALL_NOTES),
            "CALL_NOTES": str(notes),
            "CALL_NOTES_PACKAGE": str(house),
            "CALL_NOTES_SPANS": "Loop.play",
        },
    )
    noted = read(notes)
    assert list(entered(noted, span(noted, "Loop.play", 1, 1)).values()) == [{"hall.py"}]
    second = entered(noted, span(noted, "Loop.play", 2, 2))
    assert list(second.values()) == [{"hall.py", "kitchen.py"}]


def test_processes_count_that_have_a_part_in_a_round() -> None:
    app = "server/training/round_loop.py"
    store = "client/session/poll_loop.py"
    noted = {
        "1": [(1.0, "call", "play"), (2.0, "call", app), (3.0, "return", "play")],
        "2": [(0.5, "call", "early.py"), (1.5, "call", store), (3.5, "call", "late.py")],
        "3": [(1.5, "call", store), (2.5, "call", "both.py")],
        "4": [(2.0, "call", "server/monitor/web.py")],
    }
    within = span(noted, "play", 1, 1)
    assert within == (1.0, 3.0)
    assert by_part(entered(noted, within)) == {
        "server app": {app},
        "gateway": set(),
        "store": {store, "both.py"},
        "worker of a store": set(),
    }
