"""Measuring a command, and the arithmetic of turns and ratios."""

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks import harness, processes
from benchmarks.harness import BenchmarkError, Column, measure
from benchmarks.machine import machine

MB = 10**6
ROUND = '{"round": 1, "images": 5}'

# Says that round 1 is done, and leaves behind a daemon of its own session, holding 150 MB.
LEAVES_A_DAEMON = f"""
import os, sys, time
print('{ROUND}', flush=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        held = b"x" * {150 * MB}
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not (os.path.exists(sys.argv[1]) and os.path.getsize(sys.argv[1])):
    time.sleep(0.01)
"""


def test_a_daemon_counts_as_memory_and_is_ended(tmp_path: Path) -> None:
    found = measure([sys.executable, "-c", LEAVES_A_DAEMON, tmp_path / "id"])
    assert found.output == ROUND + "\n"
    assert found.first_round is not None
    assert found.first_round > 0
    assert 150 * MB < found.peak_bytes < 250 * MB
    assert processes.started(int((tmp_path / "id").read_text())) is None


def test_the_first_round_is_read_from_a_history(tmp_path: Path) -> None:
    history = tmp_path / "run" / "history.jsonl"
    code = (
        "import os, sys; os.mkdir(os.path.dirname(sys.argv[1])); open(sys.argv[1],"
        " 'w').write(sys.argv[2])"
    )
    command = [sys.executable, "-c", code, history]
    assert measure([*command, ROUND + "\n"], history=history).first_round is not None
    history.unlink()
    history.parent.rmdir()
    assert measure([*command, ROUND], history=history).first_round is None  # half a line


def test_a_failure_tells_its_last_words() -> None:
    with pytest.raises(BenchmarkError, match=r"code 3:\n.*no such store"):
        measure(
            [sys.executable, "-c", "import sys; sys.stderr.write('no such store'); sys.exit(3)"]
        )


def test_what_hangs_is_ended() -> None:
    with pytest.raises(BenchmarkError, match=r"had not ended after 0\.5 s"):
        measure([sys.executable, "-c", "import time; time.sleep(600)"], limit=0.5)


def test_variables_reach_the_command_and_only_it() -> None:
    found = measure(
        [sys.executable, "-c", "import os; print(os.environ['SHELF'])"], env={"SHELF": "3"}
    )
    assert found.output == "3\n"
    assert "SHELF" not in os.environ
    assert harness.TAG not in os.environ


def test_contestants_take_turns(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []

    def contestant(name: str) -> harness.Contestant:
        return lambda: {"call": calls.append(name) or float(len(calls))}

    samples = harness.alternate({"ours": contestant("ours"), "bare": contestant("bare")}, 2)
    assert calls == ["ours", "bare", "ours", "bare"]
    assert samples == {
        "ours": [{"call": 1.0}, {"call": 3.0}],
        "bare": [{"call": 2.0}, {"call": 4.0}],
    }
    assert "2/2 bare" in capsys.readouterr().err


def test_a_ratio_is_the_median_of_the_turns_ratios() -> None:
    ours = [{"s": 10.0}, {"s": 30.0}, {"s": 8.0}]
    theirs = [{"s": 5.0}, {"s": 10.0}, {"s": 8.0}]
    assert harness.ratio(ours, theirs, "s") == 2.0  # of 2, 3 and 1; the medians' ratio is 1.25
    assert harness.ratio(ours, [{"s": None}, {"s": 10.0}, {"s": 0.0}], "s") == 3.0
    assert harness.ratio(ours, theirs, "t") is None


def test_a_table_shows_median_spread_and_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    samples = {
        "ours": [{"b": 4e6}, {"b": 6e6}, {"b": 5e6}],
        "bare": [{"b": 2e6}, {"b": 2e6}, {"b": 2e6}],
    }
    harness.table("Memory", samples, [Column("b", "MB", 1, unit=1e6, ratio=True)])
    shown = capsys.readouterr().out
    assert "5.0 (4.0 to 6.0)" in shown
    assert "2.50" in shown
    assert machine()["date"] in shown


def test_results_are_kept_with_machine_and_settings(tmp_path: Path) -> None:
    harness.write(tmp_path / "new" / "w1.json", "w1", {"stores": 4}, {"ours": [{"wall": 1.5}]})
    kept = json.loads((tmp_path / "new" / "w1.json").read_text())
    assert kept["samples"] == {"ours": [{"wall": 1.5}]}
    assert kept["settings"] == {"stores": 4}
    assert {"cpu", "versions", "date"} <= kept["machine"].keys()
