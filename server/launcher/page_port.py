"""The port of a run's page on this machine: the run keeps it from one start to the next."""

from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedshelf.common.errors import NetworkError
from fedshelf.common.system.files import state_directory, write_private
from fedshelf.server.addresses import LOOPBACK, Address, check_free, free_port, is_free
from fedshelf.server.results.jsonl_tail import read_json

FIRST = 8444
NEXT = 20  # ports that are tried in turn, before the system picks one
PORT_TIMEOUT_SECONDS = 2.0  # for a page of an earlier start to release its port
MAX_REMEMBERED_RUNS = 200  # runs; beyond, those whose directory is gone are forgotten


class _Claims(BaseModel):
    """The file of ports: the port of the page by the run directory's path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ports: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True)
class PagePort:
    """The port of a run's page.

    is_free: whether the page can be there at once; else another program uses the port now
    trouble: why the port cannot be remembered; empty if it is
    """

    port: int
    is_free: bool
    trouble: str = ""

    def told(self) -> str:
        """Return the sentences that say where the page is."""
        place = f"http://{LOOPBACK}:{self.port}/"
        if not self.is_free:
            return (
                f"The page of this run has the port {self.port}, which another program uses now; it"
                f" appears at {place} once that has ended. --live-port gives it another."
            )
        forgotten = (
            f" (At another start it may have another port: {self.trouble}.)" if self.trouble else ""
        )
        return f"The run as a page: {place}{forgotten}"


def page_port(run: Path, asked: int | None) -> PagePort:
    """Return the port of the page of the run in `run`, which the run keeps from now on.

    asked: port that a person asked for; None: the earlier one, else the first from FIRST on that is
           free and that no unfinished run of this user on this machine has

    Raises NetworkError if the port that was asked for is taken.
    """
    if asked is not None:
        _check_free(asked)
    try:
        port = _remembered(str(run.resolve()), asked)
        trouble = ""
    except OSError as error:  # no run fails for want of its page's port
        port = asked or _unclaimed({})
        trouble = f"{state_directory()}: {error.strerror}"
    return PagePort(port, is_free(Address(LOOPBACK, port)), trouble)


def _remembered(run: str, asked: int | None) -> int:
    """Return the run's port, and save it. Raises OSError."""
    file = state_directory() / "page-ports.json"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock"), mode=0o600):
        ports = _read(file)
        port = asked or ports.get(run) or _unclaimed(ports)
        ports = {path: other for path, other in ports.items() if other != port} | {run: port}
        if len(ports) > MAX_REMEMBERED_RUNS:
            ports = {
                path: other for path, other in ports.items() if path == run or Path(path).is_dir()
            }
        write_private(file, _Claims(ports=ports).model_dump_json(indent=2) + "\n")
    return port


def _read(file: Path) -> dict[str, int]:
    """Return the ports; none if the file is damaged: then all are chosen anew."""
    try:
        return dict(_Claims.model_validate_json(file.read_bytes()).ports) if file.exists() else {}
    except ValidationError:
        return {}


def _unclaimed(ports: dict[str, int]) -> int:
    """Return a port that is free, and that no unfinished run has."""
    taken = {port for path, port in ports.items() if _is_unfinished(Path(path))}
    for candidate in range(FIRST, FIRST + NEXT):
        if candidate not in taken and is_free(Address(LOOPBACK, candidate)):
            return candidate
    return free_port()


def _is_unfinished(run: Path) -> bool:
    return run.is_dir() and read_json(run / "summary.json").get("status") != "finished"


def _check_free(port: int) -> None:
    """Check that the port is free, if need be after a moment; raise NetworkError if another program
    uses it.
    """
    try:
        check_free(Address(LOOPBACK, port), PORT_TIMEOUT_SECONDS)
    except NetworkError as error:
        raise NetworkError(
            f"--live-port got {port}, which another program on this machine uses; stop that, or"
            " choose another --live-port (0: no page)."
        ) from error
