import io
import json
import socket
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from common.errors import StoresError
from server.live.port import free_port
from server.report.jsonlog import JsonLog
from tests.report.sample_run import history


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_is_an_object_with_time_level_and_event() -> None:
    stream, records = io.StringIO(), history(["a", "b\n{}", "c"], 12)
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
        assert (line["round"], line["rounds"], line["loss"]) == (record["round"], 12, record["train"]["loss"])
        assert line["failed"] == record["failed"]
        assert line["level"] == ("warning" if record["failed"] else "info")


def test_what_ended_the_run_is_a_line_too() -> None:
    stream = io.StringIO()
    with pytest.raises(StoresError), JsonLog(3, stream):
        raise StoresError("1 of the 2 stores needed joined.")
    assert [(line["level"], line["text"]) for line in lines(stream)] == [("error", "1 of the 2 stores needed joined.")]


def test_the_next_port_if_that_one_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) not in (0, port)
    assert free_port(port) == port
