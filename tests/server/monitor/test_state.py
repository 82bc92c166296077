"""Each state of a run has words of its own, the same for page, terminal, programs and log."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from fedshelf.server.monitor import terminal, wording
from fedshelf.server.monitor.page import PageView, tiles
from fedshelf.server.monitor.reader import RunReader
from fedshelf.server.monitor.state import RunState
from fedshelf.server.report.json_log import JsonLog
from fedshelf.server.results.run_status import AT_WORK, HELD_UP, WORDS, RunActivity, RunStatus
from tests.helpers.live_runs import BEGAN, LiveRun

NAMES = ("lyon-2", "oslo-7", "süd 2")
DOINGS = {
    "4 stores needed for round 4 of 20, 1 there: oslo-7.": RunActivity(
        RunStatus.WAITING, 4, ("oslo-7",), 4, BEGAN + 600
    ),
    "Round 4 of 20 cannot begin: 1 of 2 stores needed can train now. rome: its disk is full.": (
        RunActivity(RunStatus.BLOCKED, 4, ("oslo-7",), 2, BEGAN + 600, "rome: its disk is full")
    ),
    "Round 4 of 20: all stores have answered; the new model is being judged.": RunActivity(
        RunStatus.JUDGING, 4
    ),
    "The rounds are over; the model that is delivered is being judged and written.": RunActivity(
        RunStatus.FINISHING
    ),
    "The rounds are over; the model goes to the connected stores.": RunActivity(
        RunStatus.DELIVERING
    ),
    "Round 4 of 20 is done; the model goes to the stores, as asked.": RunActivity(
        RunStatus.DELIVERING, 4
    ),
}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[LiveRun]:
    """A run at work, three rounds of which are done."""
    run = LiveRun(tmp_path / "chain", stores=list(NAMES))
    run.play(1, 3)
    with run.at_work():
        yield run


def look(run: LiveRun) -> RunState:
    return RunReader(run.path).look()


def printed(state: RunState) -> str:
    told = io.StringIO()
    terminal.show(state, Console(file=told, width=200))
    return told.getvalue()


def test_there_are_words_for_each_state() -> None:
    assert WORDS.keys() == set(RunStatus)
    assert len(set(WORDS.values())) == len(RunStatus)
    assert {doing.status for doing in DOINGS.values()} | {
        RunStatus.STARTING,
        RunStatus.TRAINING,
    } == AT_WORK


@pytest.mark.parametrize("sentence", DOINGS)
def test_page_terminal_json_and_log_say_the_same(run: LiveRun, sentence: str) -> None:
    doing = DOINGS[sentence]
    run.does(doing)
    state = look(run)
    assert state.status is doing.status
    assert json.loads(terminal.as_json(state))["status"] == doing.status
    for said in (printed(state), PageView().parts(state)["head"]):
        assert WORDS[doing.status] in said
        assert sentence in said
    log = io.StringIO()
    JsonLog(20, log).doing(doing)
    line = json.loads(log.getvalue())
    assert (line["event"], line["text"]) == (doing.status, sentence)


@pytest.mark.parametrize("sentence", DOINGS)
def test_an_end_is_expected_only_while_rounds_go_on(run: LiveRun, sentence: str) -> None:
    assert look(run).ends is not None
    doing = DOINGS[sentence]
    run.does(doing)
    state = look(run)
    assert (state.ends is None) == (doing.status is not RunStatus.JUDGING)
    assert ("Expected end" in {tile.name for tile in tiles(state)}) == (
        doing.status is RunStatus.JUDGING
    )
    since = wording.held_up(state)
    assert since == (
        [("Since", BEGAN + 60), ("the run gives up at", BEGAN + 600)]
        if doing.status in HELD_UP
        else []
    )


def test_a_run_is_finished_after_its_delivery_however_that_ended(tmp_path: Path) -> None:
    """The outcome of a start that only delivered is none of the run's."""
    run = LiveRun(tmp_path / "chain", stores=list(NAMES))
    run.play(1, 3)
    summary = {"status": "finished", "delivery": {"missing": {"süd 2": "gone"}}}
    (run.path / "summary.json").write_text(json.dumps(summary))
    os.utime(run.path / "summary.json", (BEGAN - 60, BEGAN - 60))
    (run.flower / "delivering").touch()
    with run.at_work():
        state = look(run)
        assert (state.status, state.present) == (
            RunStatus.DELIVERING,
            0,
        ), "nobody says where stores are"
    given: dict[str, object] = {
        "summary": {"sha256": "", "delivered": []},
        "error": "",
        "exit_code": 0,
    }
    for outcome in (given, given | {"summary": None, "error": "No model.", "exit_code": 4}):
        (run.flower / "outcome.json").write_text(json.dumps(outcome))
        state = look(run)
        assert (state.status, state.reason) == (
            RunStatus.FINISHED,
            "Not yet delivered: süd 2 (gone).",
        )


def test_a_run_that_is_asked_to_stop_says_so_and_expects_no_end(run: LiveRun) -> None:
    (run.flower / "stop").touch()
    state = look(run)
    assert (state.status, state.reason, state.ends) == (
        RunStatus.TRAINING,
        "It is ending, as asked.",
        None,
    )


def test_while_stores_train_it_names_those_that_are_still_out(run: LiveRun) -> None:
    run.say(training=[4, 1, 3])
    run.tell(**{"oslo-7": {"state": "training"}, "süd 2": {"state": "training"}})
    assert (
        wording.headline(look(run))
        == "Round 4 of 20: 1 of 3 stores have answered; still out: oslo-7, süd 2."
    )


def test_a_start_after_rounds_says_that_it_starts(run: LiveRun) -> None:
    (run.flower / "events.jsonl").unlink()
    assert look(run).status is RunStatus.STARTING


def test_a_revoked_store_is_revoked_whatever_the_app_says(run: LiveRun) -> None:
    reader = RunReader(run.path)
    run.tell()
    assert {store.state for store in reader.look().stores} == {"ready"}
    (run.flower / "revoked.json").write_text(json.dumps({"oslo-7": BEGAN + 90}))
    state = reader.look()
    (oslo,) = [store for store in state.stores if store.state != "ready"]
    assert (oslo.name, oslo.state, oslo.since) == ("oslo-7", "revoked", BEGAN + 90)
    assert state.present == 2
    assert "Revoked" in printed(state)
    assert "<b>Revoked</b>" in PageView().parts(state)["stores"]
