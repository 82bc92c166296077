"""`flower-client watch` before a camera, in a process of its own, until Ctrl-C."""

import csv
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.rtsp_camera import Show, rtsp_camera
from tests.helpers.videos import picture, save_colour_model


@pytest.mark.slow
def test_ctrl_c_ends_with_what_was_seen(tmp_path: Path) -> None:
    model = save_colour_model(tmp_path / "model")
    table = tmp_path / "events.csv"
    show = Show([picture("red")] * 4)
    show.may_begin.set()
    command = Path(sys.executable).parent / "flower-client"
    with rtsp_camera([show]) as url:
        process = subprocess.Popen(
            [command, "watch", model, url, "--alarm", "red", "--frames", "1", "--csv", table],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ALARM at ")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert ": red 100.0%, " in out
    assert "seen: red 1x; 1 alarm." in err
    (row,) = csv.DictReader(table.open(encoding="utf-8"))
    assert (row["source"], row["class"], row["verdict"]) == (url, "red", "sure")
    assert row["time"].startswith("20")
