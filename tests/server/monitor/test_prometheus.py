"""A run's metrics: what they say, and how many there are."""

import io
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from fedshelf.common.protocol.failures import FailureCode
from fedshelf.server.monitor import terminal, wording
from fedshelf.server.monitor.page import PageView
from fedshelf.server.monitor.prometheus import MAX_STORE_SERIES, exposition
from fedshelf.server.monitor.reader import RunReader
from fedshelf.server.monitor.state import FailureSummary
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.results.run_status import RunStatus
from tests.helpers.live_runs import BEGAN, LiveRun
from tests.helpers.sample_run import write_history

NAMES = ["lyon-2", "oslo-7", "süd 2"]


@pytest.fixture
def run(tmp_path: Path) -> LiveRun:
    return LiveRun(tmp_path / "chain", stores=NAMES)


def text(run: LiveRun) -> str:
    return exposition(RunReader(run.path).look()).decode()


def samples(run: LiveRun) -> dict[tuple[str, ...], float]:
    """The value of each sample by its name and its labels' values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text(run))
        for sample in family.samples
    }


def test_they_are_the_numbers_of_the_history(run: LiveRun) -> None:
    run.play(1, 12)
    run.tell(**{"oslo-7": {"state": "away"}})
    with run.at_work():
        found = samples(run)
    records = run.records[:12]
    assert found["fedshelf_rounds_total",] == 12
    assert found["fedshelf_status", "training"] == 1
    assert found["fedshelf_status", "failed"] == 0
    assert (found["fedshelf_stores", "ready"], found["fedshelf_stores", "away"]) == (2, 1)
    assert found["fedshelf_accuracy_ratio", "test"] == records[-1]["test"]["accuracy"]
    assert found["fedshelf_loss", "train"] == records[-1]["train"]["loss"]
    assert found["fedshelf_transferred_bytes_total", "up"] == sum(
        record["bytes"]["up"] for record in records
    )
    trained = sum(record["seconds"]["train"] for record in records)
    assert found["fedshelf_phase_seconds_total", "train"] == pytest.approx(trained)
    failures = [failure["code"] for record in records for failure in record["failed"].values()]
    assert found["fedshelf_failures_total", "timeout"] == failures.count("timeout")
    last = (run.path / "history.jsonl").stat().st_mtime
    assert found["fedshelf_last_round_timestamp_seconds",] == pytest.approx(last)
    assert found["fedshelf_run_info", "chain"] == 1


def test_they_are_there_before_round_1(run: LiveRun) -> None:
    with run.at_work():
        before = samples(run)
        run.joined()
        run.play(1, 1)
        after = samples(run)
    new = {sample[0] for sample in after.keys() - before.keys()}
    judged = {
        "fedshelf_accuracy_ratio",
        "fedshelf_main_figure_ratio",
        "fedshelf_loss",
        "fedshelf_expected_end_timestamp_seconds",
    }
    assert {name for name in new if not name.startswith("fedshelf_store_")} == judged, (
        "what nobody knows before"
    )
    assert before["fedshelf_rounds_total",] == before["fedshelf_last_round_timestamp_seconds",] == 0
    assert (
        before["fedshelf_start_timestamp_seconds",] == (run.flower / "began.json").stat().st_mtime
    )
    assert {
        before["fedshelf_phase_seconds_total", phase]
        for phase in ("train", "aggregate", "evaluate")
    } == {0}


def test_a_store_that_is_away_is_named(run: LiveRun) -> None:
    run.play(1, 6)
    run.tell(**{"oslo-7": {"state": "away", "since": BEGAN + 900}})
    asked = time.time()
    with run.at_work():
        found = samples(run)
    assert {name: found["fedshelf_store_present", name] for name in NAMES} == {
        "lyon-2": 1,
        "oslo-7": 0,
        "süd 2": 1,
    }
    assert found["fedshelf_store_last_seen_timestamp_seconds", "oslo-7"] == BEGAN + 900
    assert asked <= found["fedshelf_store_last_seen_timestamp_seconds", "süd 2"] <= time.time()
    for name in NAMES:
        used = [record["round"] for record in run.records[:6] if name in record["stores"]]
        assert found["fedshelf_store_last_round", name] == used[-1]
        assert found["fedshelf_store_rounds_total", name] == len(used)
        failed = sum(name in record["failed"] for record in run.records[:6])
        assert found["fedshelf_store_failures_total", name] == failed


def test_a_store_that_has_not_come_back_since_the_server_started_is_away(run: LiveRun) -> None:
    run.play(1, 6)
    told = {"lyon-2": {"state": "ready", "since": BEGAN, "why": "", "images": 500, "round": 0}}
    (run.flower / "stores.json").write_text(json.dumps(told))
    with run.at_work():
        found = samples(run)
    assert [found["fedshelf_store_present", name] for name in NAMES] == [1, 0, 0]
    assert (
        "fedshelf_store_last_seen_timestamp_seconds",
        "oslo-7",
    ) not in found, "nobody has noted it"


def test_while_only_a_model_is_delivered_nobody_knows_who_is_there(run: LiveRun) -> None:
    run.play(1, 6)
    (run.flower / "delivering").touch()
    with run.at_work():
        found = samples(run)
    assert found["fedshelf_status", "delivering"] == 1
    assert not [sample for sample in found if sample[0] == "fedshelf_store_present"]


def test_a_revoked_store_is_not_waited_for(run: LiveRun) -> None:
    run.play(1, 6)
    run.tell(**{"oslo-7": {"state": "revoked"}})
    with run.at_work():
        found = samples(run)
    assert found["fedshelf_stores", "revoked"] == 1
    assert found["fedshelf_store_rounds_total", "oslo-7"] > 0
    assert [
        sample
        for sample in found
        if "oslo-7" in sample and sample[0].startswith("fedshelf_store_present")
    ] == []


def test_nobody_knows_where_stores_are_once_the_run_is_over(run: LiveRun) -> None:
    run.play(1, 6)
    run.tell()
    run.end()
    found = samples(run)
    assert found["fedshelf_status", "finished"] == 1
    assert found["fedshelf_store_last_round", "lyon-2"] > 0
    assert not [sample for sample in found if sample[0] == "fedshelf_store_present"]


def test_every_status_is_a_series_and_one_of_them_is_1(run: LiveRun) -> None:
    told = {
        sample[1]: value for sample, value in samples(run).items() if sample[0] == "fedshelf_status"
    }
    assert told == {status: float(status == "dead") for status in RunStatus}


def test_every_failure_has_a_metric_and_words(run: LiveRun) -> None:
    metrics = text(run)
    for code in get_args(FailureCode):
        assert f'fedshelf_failures_total{{code="{code}"}} 0.0' in metrics
        assert wording.failure_words(FailureSummary("lyon-2", code, "", (1,))) != code


def test_what_stores_answer_makes_no_metric(run: LiveRun) -> None:
    run.play(1, 1)
    before = len(text(run).splitlines())
    hostile = run.records[1] | {"failed": {"lyon-2": {"code": 'new"} 1\nforged 2', "reason": ""}}}
    with (run.path / "history.jsonl").open("a") as file:
        file.write(json.dumps(hostile) + "\n")
    after = text(run)
    assert len(after.splitlines()) == before
    assert 'fedshelf_failures_total{code="error"} 1.0' in after
    assert "forged" not in after


def test_names_of_stores_forge_no_metric(tmp_path: Path) -> None:
    hostile = ['x"} 1\nforged 2', "\ud800", "\x1b[31m"]
    run = LiveRun(tmp_path / "chain", stores=["lyon-2"])
    run.tell(**{name: {"state": "ready", "since": BEGAN, "why": ""} for name in ["lyon-2"]})
    told = {name: {"state": "ready", "since": BEGAN, "why": ""} for name in hostile}
    (run.flower / "stores.json").write_text(json.dumps(told))
    with run.at_work():
        lines = text(run).splitlines()
    assert not [line for line in lines if line.startswith("forged")]
    assert sum(line.startswith("fedshelf_store_present{") for line in lines) == 3


def test_there_is_a_bound_on_series_and_stores_that_are_away_come_first(tmp_path: Path) -> None:
    names = [f"store-{number:04d}" for number in range(MAX_STORE_SERIES + 200)]
    run = LiveRun(tmp_path / "chain", stores=names[:1])
    told = {name: {"state": "ready", "since": BEGAN, "why": ""} for name in names}
    told[names[-1]] = {"state": "away", "since": BEGAN, "why": ""}
    (run.flower / "stores.json").write_text(json.dumps(told))
    with run.at_work():
        found = samples(run)
    assert sum(sample[0] == "fedshelf_store_present" for sample in found) == MAX_STORE_SERIES
    assert found["fedshelf_store_present", names[-1]] == 0
    assert found["fedshelf_stores_unlisted",] == 200


def test_prometheus_own_linter_has_no_complaint(run: LiveRun) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool on this machine; it comes with the Debian package prometheus")
    run.play(1, 6)
    run.tell()
    with run.at_work():
        told = text(run)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=told, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_no_counter_falls_when_a_round_is_taken_back(run: LiveRun) -> None:
    """Nor in the moment when the round is kept already, and still in the history."""
    run.joined()
    run.play(1, 6)
    before = samples(run)
    taken_back = {"store": "oslo-7", "round": 5, "reason": "everybody else's training diverges"}
    again = {
        **run.records[4],
        "seconds": {**run.records[4]["seconds"], "total": 9.0},
        "taken_back": taken_back,
    }
    write_history(run.path, run.records[:6])
    directory = RunDirectory(run.path)
    directory.take_back(5)
    between = samples(run)
    directory.mend_history(again)
    after = samples(run)
    directory.take_back(6)  # nothing is left to take back
    assert samples(run) == after
    counters = {key for key in before if key[0].endswith("_total")}
    assert {key: before[key] for key in counters} == {key: between[key] for key in counters}
    assert all(before[key] <= after[key] for key in counters)
    assert (after["fedshelf_rounds_total",], after["fedshelf_rounds_taken_back_total",]) == (7, 2)
    played = [*run.records[:6], again]
    assert after["fedshelf_images_total",] == 2 * sum(
        record["train"]["images"] for record in played
    )
    assert after["fedshelf_store_rounds_total", "oslo-7"] == sum(
        "oslo-7" in record["stores"] for record in played
    )
    state = RunReader(run.path).look()
    assert state.round == 5
    assert [(told.round, told.store) for told in state.taken_back] == [(5, "oslo-7")]
    assert "everybody else&#39;s training diverges" in PageView().parts(state)["taken_back"]
    terminal.show(state, console := Console(width=200, record=True, file=io.StringIO()))
    assert "round taken back" in console.export_text()
