"""`flower-client watch`, on a video in which products come and go."""

import csv
import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedshelf.client.main import app
from tests.helpers.videos import picture, save_colour_model, write_video
from tests.helpers.webhook_server import webhook_server

run = CliRunner().invoke

# seconds     0 to 4         5 to 10       11 to 18        19 to 23        24        25, 26
COLOURS = ["grey"] * 5 + ["red"] * 6 + ["grey"] * 8 + ["blue"] * 5 + ["grey"] + ["blue"] * 2
# 27 to 30                 31 to 35
COLOURS += ["grey"] * 4 + ["red"] * 5


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_colour_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    return write_video(path, map(picture, COLOURS), codec="libx264")


def test_a_timeline_and_one_alarm_per_event(model: str, clip: Path, tmp_path: Path) -> None:
    table = tmp_path / "out" / "events.csv"
    result = run(
        app,
        ["watch", model, str(clip), "--alarm", "red:0.9", "--alarm", "blue", "--frames", "2",
         "--quiet", "5", "--csv", str(table)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = [line.partition("%")[0].rpartition(" ")[0] for line in result.stdout.splitlines()]
    assert lines == [
        "0:00:00.0 to 0:00:04.0: grey",
        "ALARM at 0:00:06.0: red",
        "0:00:05.0 to 0:00:10.0: red",
        "0:00:11.0 to 0:00:18.0: grey",
        "ALARM at 0:00:20.0: blue",
        "0:00:19.0 to 0:00:23.0: blue",
        "0:00:24.0 to 0:00:24.0: grey",
        "0:00:25.0 to 0:00:26.0: blue",  # of the same event: one frame without it is no end
        "0:00:27.0 to 0:00:30.0: grey",
        "ALARM at 0:00:32.0: red",
        "0:00:31.0 to 0:00:35.0: red",
    ]
    assert "36 frames, seen: grey 4x, red 2x, blue 2x; 3 alarms" in result.stderr
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [(row["from"], row["to"], row["class"]) for row in rows if row["class"] != "grey"] == [
        ("5.0", "10.0", "red"),
        ("19.0", "23.0", "blue"),
        ("25.0", "26.0", "blue"),
        ("31.0", "35.0", "red"),
    ]


def test_every_few_seconds_and_a_long_quiet(model: str, clip: Path) -> None:
    arguments = ["watch", model, str(clip), "--every", "3", "--alarm", "red", "--frames", "1"]
    told = run(app, [*arguments, "--quiet", "60"])
    assert "12 frames" in told.stderr
    assert told.stdout.count("ALARM") == 1


def test_alarms_go_to_a_webhook_a_program_and_json_lines(
    model: str, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "alarms.jsonl"
    script = tmp_path / "note.py"
    script.write_text(f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read())")
    with webhook_server() as server:
        result = run(
            app,
            ["watch", model, str(clip), "--alarm", "red", "--frames", "2", "--quiet", "9", "--json",
             "--webhook", server.url, "--command", f"{sys.executable} {script}"],
        )  # fmt: skip
    told = [json.loads(line) for line in result.stdout.splitlines()]
    alarms = [line for line in told if line["event"] == "alarm"]
    assert [(alarm["seconds"], alarm["since"], alarm["class"]) for alarm in alarms] == [
        (6, 5, "red"),
        (32, 31, "red"),
    ]
    assert alarms == server.messages == [json.loads(line) for line in out.open()]
    assert [line["class"] for line in told if line["event"] == "seen"][:3] == [
        "grey",
        "red",
        "grey",
    ]


def test_a_zone_alone_is_looked_at(model: str, tmp_path: Path) -> None:
    both = picture("red")
    both.paste(picture("blue", 32, 48), (0, 0))
    path = write_video(tmp_path / "clip.mkv", [both] * 3)
    for zone, colour in (("0,0,32,48", "blue"), ("0.5,0,0.5,1", "red")):
        assert f": {colour} " in run(app, ["watch", model, str(path), "--zone", zone]).stdout


def test_a_video_that_was_cut_is_told_with_what_was_seen(model: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "c.mkv", map(picture, COLOURS))
    os.truncate(path, path.stat().st_size * 6 // 10)
    table = tmp_path / "events.csv"
    result = run(app, ["watch", model, str(path), "--csv", str(table)])
    assert type(result.exception).__name__ == "DataError"
    assert "c.mkv is truncated or damaged" in str(result.exception)
    assert result.stdout.startswith("0:00:00.0 to 0:00:04.0: grey")
    assert len(table.read_text().splitlines()) == 1 + len(result.stdout.splitlines())


def test_an_old_table_stays_if_the_video_cannot_be_read(model: str, tmp_path: Path) -> None:
    table = tmp_path / "events.csv"
    table.write_text("old")
    bad = tmp_path / "clip.mp4"
    bad.write_text("#EXTM3U\n")
    result = run(app, ["watch", model, str(bad), "--csv", str(table)])
    assert "is an HLS playlist" in str(result.exception)
    assert table.read_text() == "old"


def test_receivers_need_an_alarm(model: str, clip: Path) -> None:
    result = run(app, ["watch", model, str(clip), "--webhook", "http://127.0.0.1:1/"])
    assert "give --alarm CLASS:SCORE" in str(result.exception)
