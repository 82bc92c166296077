"""Checks of the machine: space on the disk, and the clock."""

import math
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from fedshelf.common.config import RunConfig
from fedshelf.server.check.finding import CheckFinding, CheckSubject
from fedshelf.server.formatting import size

# a checkpoint holds the model and a strategy's state: at most two numbers for each of the model's
STATES_PER_CHECKPOINT = 3
EXTRA_CHECKPOINTS = 2  # checkpoints beside the latest ones: the best, and the one being written
OTHER_FILES_BYTES = 100 * 2**20  # bytes for history, report, pictures and logs
FLOAT32_BYTES = 4  # bytes of a float32


def disk(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Check the space for checkpoints, for a round's updates, and for the report."""
    config, needed_bytes, stores = _needed(subject)
    existing_folder = next(
        path for path in [subject.run, *subject.run.absolute().parents] if path.exists()
    )
    free_bytes = shutil.disk_usage(existing_folder).free
    message = (
        f"{size(free_bytes)} free at {existing_folder}; {config.model.name} and {stores} stores"
        " need about"
        f" {size(needed_bytes)}."
    )
    if not os.access(existing_folder, os.W_OK | os.X_OK):
        yield CheckFinding(
            "fail",
            "disk",
            f"This user may not write to {existing_folder}, where the run directory will be.",
        )
    elif free_bytes < needed_bytes:
        yield CheckFinding("fail", "disk", f"{message} Free some space, or choose another --out.")
    elif free_bytes < 2 * needed_bytes:
        yield CheckFinding(
            "warn", "disk", f"{message} Free some space: other programs write to this disk, too."
        )
    else:
        yield CheckFinding("ok", "disk", message)


def _needed(subject: CheckSubject) -> tuple[RunConfig, int, int]:
    """Return the settled configuration of a run, the bytes that it needs, and its stores."""
    from fedshelf.common import strategies
    from fedshelf.common.models.spec import STORE_CHANNELS
    from fedshelf.server.training.setup import prepare, settle  # loads torch

    config = settle(subject.config, None, STORE_CHANNELS)
    classes = config.data.classes or tuple(map(str, range(100)))
    start = prepare(config, classes, STORE_CHANNELS)
    strategy = strategies.build(config.strategy, start.layout)
    sent = strategy.expected_extras(start.layout.trainable).values()
    numbers = start.params.numel()
    beside = sum(math.prod(shape) for shape in sent)
    stores = max(config.cohort.min_stores, len(subject.chain.stores.stores()))
    state = STATES_PER_CHECKPOINT * numbers
    if strategy.closed_form:  # whose state has the sums of each store
        state += stores * beside
    checkpoints = state * (config.run.keep_checkpoints + EXTRA_CHECKPOINTS)
    # each once in Flower's database and once in the spool
    updates = (numbers + beside) * 2 * (stores + 1)
    return config, (checkpoints + updates) * FLOAT32_BYTES + OTHER_FILES_BYTES, stores


def clock(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Check the time, which stores compare with theirs, and whether it is synchronised."""
    now = datetime.now(UTC)
    certificate_begin = x509.load_pem_x509_certificate(
        (subject.chain.directory / "server.crt").read_bytes()
    ).not_valid_before_utc
    installed = datetime.fromtimestamp(Path(__file__).stat().st_mtime, UTC)
    now_text = f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}"
    if now < max(certificate_begin, installed):
        yield CheckFinding(
            "fail",
            "clock",
            f"The clock says {now_text}, which is earlier than the certificate or this"
            " installation: set the clock.",
        )
    elif (is_synchronised := _is_synchronised()) is None:
        yield CheckFinding(
            "ok", "clock", f"The clock says {now_text}. It is unknown whether it is synchronised."
        )
    elif is_synchronised:
        yield CheckFinding("ok", "clock", f"The clock says {now_text}, and is synchronised (NTP).")
    else:
        yield CheckFinding(
            "warn",
            "clock",
            f"The clock says {now_text}, but it is not synchronised. To synchronise it: timedatectl"
            " set-ntp true",
        )


def _is_synchronised() -> bool | None:
    """Return systemd's answer; None if systemd does not run here."""
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(completed.stdout.strip())
