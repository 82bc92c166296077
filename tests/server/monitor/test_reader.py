import json
import os
import time
from pathlib import Path

import pytest

from fedshelf.common.errors import RunError
from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.monitor.page import figure_chart, tiles
from fedshelf.server.monitor.reader import RunReader
from fedshelf.server.monitor.run_finder import find_run
from fedshelf.server.monitor.state import RunState
from fedshelf.server.results.run_status import RunActivity, RunStatus
from tests.helpers.live_runs import BEGAN, LiveRun
from tests.helpers.sample_run import make_run

NAMES = ["lyon-2", "oslo-7", "süd 2"]


@pytest.fixture
def run(tmp_path: Path) -> LiveRun:
    return LiveRun(tmp_path / "chain", stores=NAMES)


def look(run: LiveRun) -> RunState:
    return RunReader(run.path).look()


def test_a_run_from_its_start_to_its_end(run: LiveRun) -> None:
    reader = RunReader(run.path)
    with run.at_work():
        assert reader.look().status == "starting"
        run.joined()
        assert (reader.look().status, reader.look().present) == ("waiting", 3)
        run.does(RunActivity(RunStatus.TRAINING, 1, tuple(NAMES)))
        run.say(training=[1, 1, 3])
        state = reader.look()
        assert (state.status, state.round, state.rounds) == ("training", 0, 20)
        assert state.underway is not None
        assert (state.underway.round, state.underway.done) == (1, 1)
        run.play(1, 19)
        state = reader.look()
        assert (state.status, state.round, state.underway) == ("training", 19, None)
        assert state.last_round_at is not None
        assert state.seconds_per_round is not None
        assert state.ends == state.last_round_at + state.seconds_per_round
        run.play(20, 20)
        run.end()
        assert reader.look().status == "finished"
    state = reader.look()
    assert (state.status, state.round, state.ends) == ("finished", 20, None)
    assert [store.state for store in state.stores] == ["", "", ""]


def test_the_numbers_are_those_of_the_history(run: LiveRun) -> None:
    run.play(1, 5)
    records = run.records[:5]
    state = look(run)
    assert state.accuracy["test"] == tuple(
        (record["round"], record["test"]["accuracy"]) for record in records
    )
    assert state.loss["train"] == tuple(
        (record["round"], record["train"]["loss"]) for record in records
    )
    assert state.down == sum(record["bytes"]["down"] for record in records)
    assert state.seconds["train"] == pytest.approx(
        sum(record["seconds"]["train"] for record in records)
    )
    images = sum(record["train"]["images"] for record in records)
    assert state.images == 2 * images, "two epochs a round"
    assert state.images_per_second == pytest.approx(2 * images / state.seconds["train"])
    assert state.best == max(state.accuracy["validation"], key=lambda point: point[1])
    for store in state.stores:
        assert store.rounds == sum(store.name in record["stores"] for record in records)
        assert store.accuracy == records[-1]["validation"]["stores"][store.name]["accuracy"]
    failed = [failure["code"] for record in records for failure in record["failed"].values()]
    assert (
        sum(state.failures.values())
        == len(failed)
        == sum(len(trouble.rounds) for trouble in state.troubles)
    )


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_a_line_half_written_is_read_once_it_is_whole(run: LiveRun, cut: int) -> None:
    run.play(1, 2)
    reader = RunReader(run.path)
    history = run.path / "history.jsonl"
    assert reader.look().round == 2
    line = json.dumps(run.records[2]) + "\n"
    with history.open("a") as file:
        file.write(line[:cut])
    assert reader.look().round == 2
    with history.open("a") as file:
        file.write(line[cut:])
    assert reader.look().round == 3
    assert [number for number, _ in reader.look().accuracy["test"]] == [1, 2, 3]


@pytest.mark.parametrize("last", [0, 3, 5, 9])
def test_a_resumed_run_counts_no_round_twice(run: LiveRun, last: int) -> None:
    run.play(1, 5)
    reader = RunReader(run.path)
    reader.look()
    run.rewrite(last)
    state = reader.look()
    assert state.round == last
    assert [number for number, _ in state.accuracy["test"]] == list(range(1, last + 1))
    assert state == RunReader(run.path).look()


def test_only_what_is_new_is_read(run: LiveRun) -> None:
    run.play(1, 10)
    reader = RunReader(run.path)
    before = reader.look()
    assert reader.look() is before, "nothing has changed"
    history = run.path / "history.jsonl"
    damaged = bytearray(history.read_bytes())
    damaged[0:1] = b"#"  # a line read before: reading it again would lose round 1
    history.write_bytes(damaged)
    run.play(11, 11)
    assert [number for number, _ in reader.look().accuracy["test"]] == list(range(1, 12))


def test_a_damaged_line_costs_its_round_alone(run: LiveRun) -> None:
    run.play(1, 1)
    with (run.path / "history.jsonl").open("ab") as file:
        file.write(b'\xff\xfe\n"text"\n{"round": 2}\n[]\n')
    with (run.flower / "events.jsonl").open("ab") as file:
        file.write(b'{"note": {}}\n{"training": ["a", 1, 2]}\n{\n')
    run.play(3, 3)
    assert [number for number, _ in look(run).accuracy["test"]] == [1, 3]


def test_missing_and_half_written_files_are_no_error(tmp_path: Path) -> None:
    assert RunReader(tmp_path / "nothing").look().status == "dead"
    (tmp_path / "flower").mkdir()
    for name in (
        "config.toml",
        "summary.json",
        "partition.json",
        "flower/stores.json",
        "flower/outcome.json",
    ):
        (tmp_path / name).write_text('{"half": ')
    state = RunReader(tmp_path).look()
    assert (state.status, state.stores, state.round) == ("dead", (), 0)


def test_a_killed_run_is_told_from_one_at_work(run: LiveRun) -> None:
    run.play(1, 4)
    with run.at_work():
        assert look(run).status == "training"
    state = look(run)
    assert state.status == "dead"
    assert "No process is at work" in state.reason


def test_looking_does_not_keep_a_launcher_out(run: LiveRun) -> None:
    reader = RunReader(run.path)
    with RunMailbox(run.path).open(BEGAN):
        assert reader.look().is_at_work
    with RunMailbox(run.path).open(BEGAN):
        assert reader.look().is_at_work
    assert not reader.look().is_at_work


def test_a_failure_says_why(run: LiveRun) -> None:
    run.play(1, 4)
    run.fail("Round 5 did not reach the quorum of 2 stores.")
    state = look(run)
    assert (state.status, state.reason) == (
        "failed",
        "Round 5 did not reach the quorum of 2 stores.",
    )


def test_an_earlier_outcome_counts_no_more_once_the_run_goes_on(run: LiveRun) -> None:
    run.play(1, 4)
    run.end("stopped")
    assert look(run).status == "stopped"
    (run.flower / "outcome.json").unlink()
    (run.flower / "began.json").write_text(str(time.time()))
    with run.at_work():
        assert look(run).status == "training"


def test_what_the_app_says_of_its_stores(run: LiveRun) -> None:
    run.play(1, 3)
    run.tell(**{"oslo-7": {"state": "away", "why": "no sign of life"}, "süd 2": {"state": "away"}})
    with run.at_work():
        state = look(run)
    assert [(store.name, store.state, store.why) for store in state.stores] == [
        ("lyon-2", "ready", ""),
        ("oslo-7", "away", "no sign of life"),
        ("süd 2", "away", ""),
    ]
    assert (state.present, state.quorum) == (1, 2)


def test_the_log_has_the_words_of_app_and_launcher_in_order(run: LiveRun) -> None:
    run.say(note="second")
    launcher = run.flower / "launcher.jsonl"
    launcher.write_text(json.dumps({"at": BEGAN, "note": "first"}) + "\n")
    assert [note.text for note in look(run).notes] == ["first", "second"]


def test_a_simulation_is_a_run_too(tmp_path: Path) -> None:
    state = RunReader(make_run(tmp_path / "simulated")).look()
    assert (state.status, state.round, len(state.stores)) == ("finished", 20, 10)


def test_the_newest_run_is_meant_by_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run below"):
        find_run(None, tmp_path)
    for name in ("a", "b"):
        LiveRun(tmp_path / name, stores=NAMES)
    later = time.time() + 60
    os.utime(tmp_path / "a" / "config.toml", (later, later))
    assert find_run(None, tmp_path) == tmp_path / "a"
    with pytest.raises(RunError, match="no run in"):
        find_run(tmp_path / "c", tmp_path)


def test_a_run_on_scenes_is_told_by_its_ap_and_counts(run: LiveRun) -> None:
    for record in run.records:
        figures = {"ap": record["round"] / 100, "ap_50": 0.75, "count_error": 1.5}
        record["validation"] |= figures
        record["test"] |= figures
        for store in record["validation"]["stores"].values():
            store.update(figures)
    with run.at_work():
        run.joined()
        run.play(1, 3)
        state = look(run)
    assert state.figure == "ap"
    assert state.quality["validation"] == ((1, 0.01), (2, 0.02), (3, 0.03))
    assert state.best == (3, 0.03)
    assert {store.quality for store in state.stores} == {0.03}
    first = tiles(state)[0]
    assert (first.name, first.value) == ("Validation AP", "3.0%")
    assert first.remark == "AP50 75.0%, counts off by 1.5 products, the best so far"
    chart = figure_chart(state)
    assert chart is not None
    assert chart.title == "AP"
