"""Killing a run at a moment that a test chooses."""

import os
import signal
import subprocess
import time
from pathlib import Path


def kill_when(process: subprocess.Popen, ready) -> None:
    """SIGKILL the process and its workers as soon as `ready` says so, or let it finish."""
    while process.poll() is None and not ready():
        time.sleep(0.001)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def lines(out: Path) -> int:
    path = out / "history.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0
