import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fedshelf.common.errors import StoresError
from fedshelf.server.ipc.events import EventReader, EventWriter
from fedshelf.server.report.json_log import JsonLog
from tests.helpers.by_hand import Notes
from tests.helpers.sample_run import history


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_is_an_object_with_time_level_and_event() -> None:
    stream = io.StringIO()
    records = history(["a", "b\n{}", "c"], 12)
    with JsonLog(12, stream) as log:
        log.note('Waiting for "stores"\nand more')
        for record in records:
            for done in range(4):
                log.training(record["round"], done, 3)
            log.row(record)
        log.closing({"status": "finished", "rounds": 12, "stores": 3}, Path("runs/x"))
    found = lines(stream)
    assert [line["event"] for line in found] == ["note", *["training", "round"] * 12, "finished"]
    for line in found:
        assert list(line)[:4] == ["time", "level", "event", "text"]
        assert datetime.fromisoformat(line["time"]).utcoffset() is not None
        assert "\n" not in line["text"]
    for line, record in zip(found[2::2], records, strict=False):
        assert (line["round"], line["rounds"], line["loss"]) == (
            record["round"],
            12,
            record["train"]["loss"],
        )
        assert line["failed"] == record["failed"]
        assert line["level"] == ("warning" if record["failed"] else "info")


def test_rounds_that_are_only_recalled_are_not_told_again() -> None:
    stream = io.StringIO()
    records = history(["a", "b", "c"], 5)
    with JsonLog(5, stream) as log:
        for record in records[:2]:
            log.row(record)  # the run goes on after round 2
        log.training(3, 0, 3)
        log.row(records[2])
        log.training(4, 0, 3)
        for record in records[:4]:
            log.row(record)  # the app died once round 4 was saved, before it could tell
        for record in records[:4]:
            log.row(record)
    done = [line["round"] for line in lines(stream) if line["event"] == "round"]
    assert done == [3, 4]


def test_what_ended_the_run_is_a_line_too() -> None:
    stream = io.StringIO()
    with pytest.raises(StoresError), JsonLog(3, stream):
        raise StoresError("1 of the 2 stores needed joined.")
    assert [(line["level"], line["text"]) for line in lines(stream)] == [
        ("error", "1 of the 2 stores needed joined.")
    ]


def test_a_writer_killed_within_a_line_costs_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    heard = Notes()
    EventWriter(path).note("first")
    reader = EventReader(path, heard)
    reader.play()
    with path.open("a") as file:
        file.write('{"note": "half')
    reader.play()
    EventWriter(path).note("second")
    reader.play()
    assert heard.notes == ["first", "second"]


def test_a_round_of_scenes_tells_ap_and_counts_and_no_accuracy() -> None:
    stream = io.StringIO()
    (record,) = history(["a"], 1, failures=False)
    figures = {"ap": 0.5, "ap_50": 0.75, "count_error": 1.5, "ap_recall_1": 0.25}
    record |= {"test": record["test"] | figures, "validation": None}
    with JsonLog(1, stream) as log:
        log.training(1, 0, 1)
        log.row(record)
    line = lines(stream)[-1]
    assert "accuracy" not in line
    told = {key: line[key] for key in ("ap", "ap_50", "count_error")}
    assert told == {"ap": {"test": 0.5}, "ap_50": {"test": 0.75}, "count_error": {"test": 1.5}}
    assert "ap_recall_1" not in line
