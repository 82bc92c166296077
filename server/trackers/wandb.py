"""Weights & Biases: a run of a project at wandb.ai or WANDB_BASE_URL, or files for `wandb sync`.

The run's id is that of the run directory, so that a resumed run and several offline files are one
run. https://docs.wandb.ai/ref/python/sdk/functions/init/ has what is called here.
"""

import importlib
import netrc
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fedshelf.common.errors import ConfigError
from fedshelf.server.trackers.tracker import (
    REQUEST_TIMEOUT_SECONDS,
    Curves,
    ExperimentTracker,
    TrackedRun,
)

DEFAULT_PROJECT = "fedshelf"
DEFAULT_ADDRESS = "https://api.wandb.ai"
MODE = "WANDB_MODE"
ADDRESS = "WANDB_BASE_URL"
STEP = "round"
END_TIMEOUT_SECONDS = 60.0  # for what is left to send at the end, the model included
# what W&B would send that nobody asked for: crash reports to its makers, this machine's load, its
# name, its users and its command line, installed packages, the state of a git repository, the
# program, what it prints
NOTHING_ELSE = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
BOUNDS = {
    "init_timeout": float(REQUEST_TIMEOUT_SECONDS),
    "x_file_stream_retry_max": 2,
    "x_file_transfer_retry_max": 2,
    "x_graphql_retry_max": 2,
}


class WandbTracker(ExperimentTracker):
    """A run in Weights & Biases."""

    title = "Weights & Biases"

    def __init__(self, library: Any, run: Any, tracker_id: str) -> None:
        self._library = library
        self._run = run
        self.tracker_id = tracker_id
        self.place = (
            f"files in {Path(run.dir).parents[1]}, which `wandb sync` sends"
            if run.offline
            else os.environ.get(ADDRESS) or DEFAULT_ADDRESS
        )

    @staticmethod
    def check() -> None:
        """Check that an online run needs no question to the person; raise ConfigError if not."""
        if os.environ.get(MODE) == "online" and not _is_logged_in():
            raise ConfigError(
                f"{MODE} is online, but this machine has no login at Weights & Biases; call"
                f" `wandb login`, set WANDB_API_KEY, or set {MODE}=offline."
            )

    @classmethod
    def begin(cls, run: TrackedRun) -> "WandbTracker":
        """Begin a run in the project WANDB_PROJECT, or go on with it.

        It is offline if WANDB_MODE says so, nobody has logged in, or there is no network.
        """
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        library = importlib.import_module("wandb")
        mode = os.environ.get(MODE)
        if mode is None and _is_logged_in():
            try:
                return cls._begin(library, run, "online")
            except Exception:  # its errors have no common base; offline works without a server
                mode = "offline"
                library.teardown(exit_code=1)  # its process still has the run
        return cls._begin(library, run, mode or "offline")

    @classmethod
    def _begin(cls, library: Any, run: TrackedRun, mode: str) -> "WandbTracker":
        tracker_id = run.tracker_id or run.run_id
        started = library.init(
            project=os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT,
            id=tracker_id,
            name=run.name,
            dir=str(run.directory),
            mode=mode,
            # files offline are put together by their id when they are synchronised
            resume="allow" if mode == "online" else None,
            config=dict(run.settings),
            settings=library.Settings(silent=True, **NOTHING_ELSE, **BOUNDS),
        )
        started.define_metric("*", step_metric=STEP)
        return cls(library, started, tracker_id)

    def log(self, step: int, curves: Curves) -> None:
        """Log the figures of a round; they are sent while the run goes on."""
        self._run.log({STEP: step, **curves})

    def keep(self, files: Sequence[Path], outcome: Curves) -> None:
        """Keep files as an artifact `run-ID`, and the figures in the run's summary."""
        self._run.summary.update(dict(outcome))
        artifact = self._library.Artifact(f"run-{self.tracker_id}", type="model")
        for path in files:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def end(self, status: str) -> None:
        """Send what is left, and end the run; raise TimeoutError if that takes too long."""
        self._run.summary["status"] = status
        code = 0 if status == "finished" else 1
        # the library waits without a bound for a server that does not answer
        ending = threading.Thread(target=self._run.finish, args=(code,), daemon=True)
        ending.start()
        ending.join(END_TIMEOUT_SECONDS)
        if ending.is_alive():
            raise TimeoutError(f"no end within {END_TIMEOUT_SECONDS:g} s")


def _is_logged_in() -> bool:
    """Return whether the library finds a key without asking for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get(ADDRESS) or DEFAULT_ADDRESS).hostname
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False
