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

_RUN_FILE = "run.json"
_LOCK_FILE = "server.lock"  # held by the server that uses these credentials
SERVER_LOCK_TIMEOUT_SECONDS = 1.0  # for the lock of a server that has just been killed


@contextmanager
def hold_server_lock(credentials: Path, run: Path) -> Iterator[None]:
    """Hold the lock of a chain's credentials for a server, and note the server's run.

    A failure to write the note does not stop a run.

    Args:
        credentials: the chain's credentials directory
        run:         run directory of the server

    Raises:
        RunError: another server has the lock.
    """
    lock = FileLock(credentials / _LOCK_FILE, mode=0o600)
    try:
        lock.acquire(timeout=SERVER_LOCK_TIMEOUT_SECONDS)
    except Timeout:
        where = f", in {other_run}" if (other_run := last_run(credentials)) else ""
        raise RunError(
            f"Another flower-server works with the credentials in {credentials}{where}; a chain's"
            " stores have one server at a time. Stop it first, or give the other run a chain of"
            " its own (provision)."
        ) from None
    except OSError:
        pass
    try:
        with contextlib.suppress(OSError):
            write_json(credentials / _RUN_FILE, {"run": str(run.resolve())})
        yield
    finally:
        lock.release()


def last_run(credentials: Path) -> Path | None:
    """Return the run noted last; None if there was none, or it does not exist any more."""
    run = Path(str(read_json(credentials / _RUN_FILE).get("run", "")))
    return run if run.is_absolute() and (run / "config.toml").is_file() else None
