"""Checks of the machine: space on the disk, and the clock."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from fedshelf.server.check.finding import CheckFinding
from fedshelf.server.check.subject import CheckSubject
from fedshelf.server.formatting import size

# a checkpoint holds the model and a strategy's state: at most two numbers for each of the model's
_STATES = 3
_BESIDE = 2  # checkpoints beside the latest ones: the best, and the one being written
_OTHERS = 100 * 2**20  # bytes for history, report, pictures and logs
_NUMBER = 4  # bytes of a float32


def disk(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Check the space for checkpoints, for a round's updates, and for the report."""
    from fedshelf.common.models.spec import STORE_CHANNELS
    from fedshelf.server.training.setup import prepare, settle  # loads torch

    config = settle(subject.config, None, STORE_CHANNELS)
    numbers = prepare(
        config, config.data.classes or tuple(map(str, range(100))), STORE_CHANNELS
    ).params.numel()
    stores = max(config.cohort.min_stores, len(subject.chain.stores.stores()))
    checkpoints = numbers * _NUMBER * _STATES * (config.run.keep_checkpoints + _BESIDE)
    # each once in Flower's database and once in the spool
    updates = numbers * _NUMBER * 2 * (stores + 1)
    needed = checkpoints + updates + _OTHERS
    place = next(path for path in [subject.run, *subject.run.absolute().parents] if path.exists())
    free = shutil.disk_usage(place).free
    told = (
        f"{size(free)} free at {place}; {config.model.name} and {stores} stores need some"
        f" {size(needed)}."
    )
    if not os.access(place, os.W_OK | os.X_OK):
        yield CheckFinding(
            "fail", "disk", f"This user may not write to {place}, where the run is to be."
        )
    elif free < needed:
        yield CheckFinding("fail", "disk", f"{told} Make room, or choose another --out.")
    elif free < 2 * needed:
        yield CheckFinding(
            "warn", "disk", f"{told} Make room: the machine writes other things, too."
        )
    else:
        yield CheckFinding("ok", "disk", told)


def clock(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Check the time, which stores compare with theirs, and whether it is synchronised."""
    now = datetime.now(UTC)
    made = x509.load_pem_x509_certificate(
        (subject.chain.directory / "server.crt").read_bytes()
    ).not_valid_before_utc
    installed = datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)
    told = f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}"
    if now < max(made, installed):
        yield CheckFinding(
            "fail",
            "clock",
            f"It says {told}, which is before what is installed here was made: set it.",
        )
    elif (is_synchronised := _is_synchronised()) is None:
        yield CheckFinding(
            "ok", "clock", f"It says {told}; whether it is kept in step cannot be told here."
        )
    elif is_synchronised:
        yield CheckFinding("ok", "clock", f"It says {told}, and is kept in step (NTP).")
    else:
        yield CheckFinding(
            "warn",
            "clock",
            f"It says {told}, but nothing keeps it in step: timedatectl set-ntp true",
        )


def _is_synchronised() -> bool | None:
    """Return systemd's answer; None if it does not run here."""
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())
