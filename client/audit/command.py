"""`flower-client audit`: reading and verifying a store's log."""

from pathlib import Path

from rich.console import Console

from client.audit.check import verify
from client.audit.files import full_files, lines, read_head
from client.audit.show import show
from common.errors import ConfigError, RunError


def read(path: Path, *, as_json: bool) -> None:
    """Print a table of the log at `path`, or all its lines. Raises ConfigError if there is none, OSError."""
    _check_begun(path)
    if as_json:
        for _, _, line in lines(path):
            print(line.decode(errors="replace"), end="")
    else:
        show(path, Console())


def check(path: Path) -> None:
    """Say that the log at `path` is whole. Raises RunError saying where it is not, and as `read` does."""
    _check_begun(path)
    verdict = verify(path)
    known = f"number {verdict.head.number}, whose hash is {verdict.head.hash}"
    if verdict.fault:
        raise RunError(
            f"The audit log {path} is not as it was written: {verdict.fault}. What comes before follows up to {known}."
        )
    if verdict.first > 1:
        print(f"The log begins with number {verdict.first} here; files with earlier lines were taken away.")
    print(f"The audit log {path} is as it was written, up to {known}.")
    print("Note that hash elsewhere: as long as the log contains it, nobody has written the log up to there anew.")


def _check_begun(path: Path) -> None:
    """Raises ConfigError if nothing was ever written to the log."""
    if not path.exists() and not full_files(path) and read_head(path) is None:
        raise ConfigError(f"There is no audit log at {path} yet; it begins when the store joins.")
