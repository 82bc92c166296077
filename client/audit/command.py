"""`flower-client audit`: reading and verifying a store's log."""

from pathlib import Path

from rich.console import Console

from fedshelf.client.audit.files import full_files, lines, read_head
from fedshelf.client.audit.seal import fingerprint, public_text
from fedshelf.client.audit.show import show
from fedshelf.client.audit.verify import verify
from fedshelf.client.identity.enrolment import load_key
from fedshelf.client.identity.home import KEY_FILE
from fedshelf.common.errors import ConfigError, RunError


def print_log(path: Path, *, as_json: bool) -> None:
    """Print a table of the log at `path`, or all its lines.

    Raises ConfigError if there is no log; OSError; RunError, after all has been printed, if the
    log is not as it was written.
    """
    _check_log_exists(path)
    if as_json:
        for _, _, line in lines(path):
            print(line.decode(errors="replace"), end="")
    else:
        show(path, Console())
    verdict = verify(path, _own_key(path))
    if verdict.fault:
        raise RunError(
            f"The audit log {path} is not as it was written: {verdict.fault}. Run flower-client"
            " audit --verify for details."
        )


def print_verification(path: Path) -> None:
    """Check the log at `path` and say that it is whole.

    Raises RunError saying where it is not; else as `read`.
    """
    _check_log_exists(path)
    verdict = verify(path, _own_key(path))
    last_line = f"number {verdict.head.number}, whose hash is {verdict.head.hash}"
    if verdict.fault:
        raise RunError(
            f"The audit log {path} is not as it was written: {verdict.fault}. The lines before"
            f" that are in order up to {last_line}."
        )
    print(f"The audit log {path} is as it was written, up to {last_line}.")
    if verdict.signer:
        print(
            f"Its end is signed by the key {fingerprint(verdict.signer)}; ask the chain whether"
            " this is the store's key."
        )
    else:
        print(
            "Its end is not signed, because this store has no key: anybody who can write to"
            " this file can remove the last lines unnoticed."
        )
    print(
        "Note that hash elsewhere: as long as the log contains it, nobody has rewritten the"
        " log up to that line."
    )


def _own_key(path: Path) -> str:
    """Return the public key of the store in whose home the log lies; empty if there is none."""
    key = path.with_name(KEY_FILE)
    return public_text(load_key(key)) if key.exists() else ""


def _check_log_exists(path: Path) -> None:
    """Check that the log was begun; raise ConfigError if nothing was ever written to it."""
    if not path.exists() and not full_files(path) and read_head(path) is None:
        raise ConfigError(f"There is no audit log at {path} yet; it begins when the store joins.")
