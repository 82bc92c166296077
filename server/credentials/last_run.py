"""The run that a chain's stores take part in, or took part in last: noted beside the chain's credentials."""

import contextlib
from pathlib import Path

from common.files import write_json
from server.tail import read_json

_FILE = "run.json"


def note_run(credentials: Path, run: Path) -> None:
    """Note that a server with these credentials works in `run`. That it cannot be noted must not stop a run."""
    with contextlib.suppress(OSError):
        write_json(credentials / _FILE, {"run": str(run.resolve())})


def last_run(credentials: Path) -> Path | None:
    """Return the run noted last, or None if there was none, or it is not there any more."""
    run = Path(str(read_json(credentials / _FILE).get("run", "")))
    return run if run.is_absolute() and (run / "config.toml").is_file() else None
