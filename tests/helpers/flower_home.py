"""Processes that work in one FLWR_HOME."""

import os
import signal
from pathlib import Path


def end_processes_of(home: Path) -> None:
    """End what works in this FLWR_HOME: `flwr run` leaves a SuperLink running."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"FLWR_HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGTERM)
        except OSError:
            continue  # gone already, or not ours
