"""The latest run of a chain's stores, noted beside the chain's credentials.

Stores of one chain have one server: two at once would write one file of which process speaks for
each store, and each would lose the other's changes. So the second is refused for as long as the
first lives.
"""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fedshelf.common.errors import RunError
from fedshelf.common.system.files import write_json
from fedshelf.server.results.jsonl_tail import read_json

_FILE = "run.json"
_LOCK = "server.lock"  # held by the server that uses these credentials
SERVER_LOCK_TIMEOUT_SECONDS = 1.0  # longest wait for the lock of a server that has just been killed


@contextmanager
def at_work(credentials: Path, run: Path) -> Iterator[None]:
    """Hold the lock of these credentials for a server that works in `run`, and note the run.

    Raises RunError if another server has it. A failure to write the note does not stop a run.
    """
    lock = FileLock(credentials / _LOCK, mode=0o600)
    try:
        lock.acquire(timeout=SERVER_LOCK_TIMEOUT_SECONDS)
    except Timeout:
        where = f", in {found}" if (found := last_run(credentials)) else ""
        raise RunError(
            f"Another flower-server works with the credentials in {credentials}{where}; a chain's"
            " stores have one server at a time. Stop it first, or give the other run a chain of"
            " its own (provision)."
        ) from None
    except OSError:
        pass
    try:
        with contextlib.suppress(OSError):
            write_json(credentials / _FILE, {"run": str(run.resolve())})
        yield
    finally:
        lock.release()


def last_run(credentials: Path) -> Path | None:
    """Return the run noted last, or None if there was none, or it does not exist any more."""
    run = Path(str(read_json(credentials / _FILE).get("run", "")))
    return run if run.is_absolute() and (run / "config.toml").is_file() else None
