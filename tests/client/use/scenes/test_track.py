"""`flower-client track`, as a person runs it: coloured squares move through a video."""

import json
import sys
from pathlib import Path

import pytest

from tests.helpers.client_command import refused, run
from tests.helpers.hand_made_models import write_colour_classifier, write_square_locator
from tests.helpers.squares import Place, write_squares
from tests.helpers.webhook_server import webhook_server

RED, BLUE = 0, 2
FRAMES = 26  # the red square moves from 14 to 114 pixels, the blue one stands


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("models")
    locator = write_square_locator(folder / "locator.onnx")
    return str(locator), str(write_colour_classifier(folder / "model.onnx"))


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, models: tuple[str, str]) -> list[str]:
    squares: list[tuple[int, Place]] = [
        (RED, lambda frame: (14 + 4 * frame, 30)),
        (BLUE, lambda _: (118, 110)),
    ]
    video = write_squares(tmp_path_factory.mktemp("track") / "belt.mkv", FRAMES, squares)
    return ["track", models[0], str(video), "--classifier", models[1]]


def test_each_item_counts_once(tmp_path: Path, command: list[str]) -> None:
    done = run(tmp_path, *command, "--line", "0.5,1,0.5,0", "--zone", "0,100,160,60")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "belt.mkv: 2 items (red 1 and blue 1) in 26 frames",
        "line 0.5,1,0.5,0: 1 to the right, 0 to the left",
        "zone 0,100,160,60: 1 item, 1 at the end",
    ]


def test_json_tells_when_each_item_was_seen(tmp_path: Path, command: list[str]) -> None:
    told = json.loads(run(tmp_path, *command, "--json").stdout)
    assert told["event"] == "count"
    assert (told["source"], told["frames"]) == ("belt.mkv", FRAMES)
    assert [(item["item"], item["from"], item["to"]) for item in told["items"]] == [
        (1, 0, 2.5),
        (2, 0, 2.5),
    ]
    assert {item["class"] for item in told["items"]} == {"red", "blue"}


def test_what_cannot_be_tracked_is_refused(tmp_path: Path, command: list[str]) -> None:
    assert "--line got" in refused(tmp_path, 2, *command, "--line", "1,2,3")
    assert "is a classifier" in refused(tmp_path, 3, "track", command[-1], command[2])
    assert "There is no" in refused(tmp_path, 3, "track", command[1], "none.mp4")


def test_a_locator_with_classes_names_items_itself(tmp_path: Path, command: list[str]) -> None:
    """Unless a classifier is given; the score of an alarm is then that of the box."""
    named = str(write_square_locator(tmp_path / "named.onnx", classes=("cherry", "leaf", "sky")))
    video = command[2]
    done = run(tmp_path, "track", named, video, "--alarm", "sky:0.9", "--alarm", "leaf")
    assert done.returncode == 0, done.stderr
    [alarm, count] = done.stdout.splitlines()
    assert alarm.startswith("ALARM at 0:00:00.4: sky 9")
    assert count == "belt.mkv: 2 items (cherry 1 and sky 1) in 26 frames"
    assert "Did you mean cherry?" in refused(tmp_path, 2, "track", named, video, "--alarm", "chery")
    by_classifier = run(tmp_path, "track", named, *command[2:])
    assert "(red 1 and blue 1)" in by_classifier.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, models: tuple[str, str]) -> list[str]:
    """A video of 8 seconds: one stands still, two cross, one comes and goes, one returns."""

    def standing(_: int) -> tuple[int, int]:
        return 14, 14

    def returning(frame: int) -> tuple[int, int] | None:
        # out of sight for one second, which is waited for, and for three, which are too long
        return (126, 70) if frame < 15 or 25 <= frame < 35 or frame >= 65 else None

    def crossing(frame: int) -> tuple[int, int] | None:
        return (14 + 4 * frame, 102) if frame < 30 else None

    def against(frame: int) -> tuple[int, int] | None:
        return (130 - 4 * frame, 122) if frame < 30 else None

    def passing(frame: int) -> tuple[int, int] | None:
        return (70, 42) if 40 <= frame < 50 else None

    squares: list[tuple[int, Place]] = [
        (RED, standing), (RED, crossing), (BLUE, against), (RED, passing), (RED, returning),
    ]  # fmt: skip
    video = write_squares(tmp_path_factory.mktemp("shop") / "shop.mkv", 80, squares)
    return ["track", models[0], str(video), "--classifier", models[1]]


def alarms(stdout: str) -> list[tuple[str, float, int]]:
    """Class, seconds and item of each alarm among lines of JSON."""
    told = [json.loads(line) for line in stdout.splitlines()]
    return [(one["class"], one["seconds"], one["item"]) for one in told if one["event"] == "alarm"]


def test_an_alarm_tells_each_item_once(tmp_path: Path, shop: list[str]) -> None:
    """An item has a number from its third frame on, and five in a row make the alarm."""
    options = ["--alarm", "red:0.9", "--alarm", "blue", "--frames", "5", "--json"]
    done = run(tmp_path, *shop, *options, "--quiet", "0")
    assert done.returncode == 0, done.stderr
    told = alarms(done.stdout)
    assert [(name, seconds) for name, seconds, _ in told] == [
        ("red", 0.6),  # stands still, crosses, and returns
        ("red", 0.6),
        ("red", 0.6),
        ("blue", 0.6),  # crosses
        ("red", 4.6),  # comes and goes
        ("red", 7.1),  # returns after three seconds: another item
    ]
    assert len({item for _, _, item in told}) == 6
    assert len(json.loads(done.stdout.splitlines()[-1])["items"]) == 6
    told = alarms(run(tmp_path, *shop, *options, "--quiet", "5").stdout)
    assert [(name, seconds) for name, seconds, _ in told] == [
        ("red", 0.6),
        ("blue", 0.6),
        ("red", 7.1),  # 4.6 is quiet, as are the others of 0.6, of which none is there later
    ]


def test_alarms_of_a_zone_go_to_a_webhook_and_a_program(tmp_path: Path, shop: list[str]) -> None:
    out = tmp_path / "alarms.jsonl"
    script = tmp_path / "note.py"
    script.write_text(f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read())")
    zones = ["--zone", "0,0,40,40", "--zone", "60,0,40,160"]
    with webhook_server() as server:
        done = run(
            tmp_path, *shop, *zones, "--alarm", "red", "--quiet", "0",
            "--webhook", server.url, "--command", f"{sys.executable} {script}",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("ALARM")]
    assert [line.partition("%")[0].rpartition(" ")[0] for line in told] == [
        "ALARM at 0:00:00.4: red",  # stands there
        "ALARM at 0:00:01.2: red",  # crosses the second zone from 1.0 s on, with its middle
        "ALARM at 0:00:04.4: red",  # comes and goes there
    ]
    assert told[0].endswith("there since 0:00:00.2 (item 1, zone 0,0,40,40)")
    zones_told = ["0,0,40,40", "60,0,40,160", "60,0,40,160"]
    assert [message["zone"] for message in server.messages] == zones_told
    assert [json.loads(line) for line in out.open()] == server.messages
    assert done.stdout.splitlines()[-3].startswith("shop.mkv: 6 items (red 5 and blue 1)")


def test_alarms_and_places_that_cannot_be_are_refused(
    tmp_path: Path, shop: list[str], models: tuple[str, str]
) -> None:
    nameless = ["track", models[0], shop[2]]
    for arguments, code, words in (
        ([*nameless, "--alarm", "red"], 2, "--alarm is for names: give --classifier MODEL"),
        ([*shop, "--webhook", "http://127.0.0.1:1/"], 2, "give --alarm CLASS:SCORE"),
        ([*shop, "--alarm", "rod"], 2, "Did you mean red?"),
        ([*shop, "--zone", "150,0,20,20"], 2, "reaches to 170,20; the frames have 160 x 160"),
        ([*shop, "--line", "0,0,0,200"], 2, "reaches to 0,200; the frames have 160 x 160"),
    ):
        assert words in refused(tmp_path, code, *arguments)
