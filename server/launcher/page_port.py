"""The port of a run's live page on this machine: the run keeps it from one start to the next.

The ports are kept in one file of this user, so that two runs never claim the same one.
"""

from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedshelf.common.errors import NetworkError
from fedshelf.common.system.files import state_directory, write_private
from fedshelf.server.addresses import LOOPBACK, Address, check_free, free_port, is_free
from fedshelf.server.results.jsonl_tail import read_json

FIRST_PAGE_PORT = 8444
PAGE_PORT_CANDIDATES = 20  # ports that are tried in turn, before the system picks one
PORT_TIMEOUT_SECONDS = 2.0  # for a page of an earlier start to release its port
MAX_REMEMBERED_RUNS = 200  # runs; beyond, those whose directory is gone are forgotten


class _PagePortsFile(BaseModel):
    """The file of ports: the port of the page by the run directory's path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ports: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True)
class PagePort:
    """The port of a run's page.

    Attributes:
        port:       the port
        is_free:    True if the page can be there at once; False: another program uses the port now
        save_error: why the port cannot be remembered; empty if it is
    """

    port: int
    is_free: bool
    save_error: str = ""

    def message(self) -> str:
        """Return the sentences that say where the page is."""
        url = f"http://{LOOPBACK}:{self.port}/"
        if not self.is_free:
            return (
                f"Another program uses port {self.port}, which is the port of this run's page; the"
                f" page appears at {url} once that program has ended. To choose another port, use"
                " --live-port."
            )
        warning = (
            f" (At another start it may have another port: {self.save_error}.)"
            if self.save_error
            else ""
        )
        return f"The run as a page: {url}{warning}"


def page_port(run: Path, requested_port: int | None) -> PagePort:
    """Return the port of a run's page, which the run keeps from now on.

    Args:
        run:            run directory
        requested_port: port that a person asked for; None: the run's earlier one, else the first
            from
            FIRST_PAGE_PORT on that is free and that no unfinished run of this user has

    Raises:
        NetworkError: the port that was asked for is taken.
    """
    if requested_port is not None:
        _check_free(requested_port)
    try:
        port = _claim_port(str(run.resolve()), requested_port)
        save_error = ""
    except OSError as error:  # no run fails for want of its page's port
        port = requested_port or _unclaimed_port({})
        save_error = f"{state_directory()}: {error.strerror}"
    return PagePort(port, is_free(Address(LOOPBACK, port)), save_error)


def _claim_port(run: str, requested_port: int | None) -> int:
    """Return the run's port, and save it. Raises OSError."""
    file = state_directory() / "page-ports.json"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock"), mode=0o600):
        ports = _read_ports(file)
        port = requested_port or ports.get(run) or _unclaimed_port(ports)
        ports = {path: other for path, other in ports.items() if other != port} | {run: port}
        if len(ports) > MAX_REMEMBERED_RUNS:
            ports = {
                path: other for path, other in ports.items() if path == run or Path(path).is_dir()
            }
        write_private(file, _PagePortsFile(ports=ports).model_dump_json(indent=2) + "\n")
    return port


def _read_ports(file: Path) -> dict[str, int]:
    """Return the ports; none if the file is damaged: then all are chosen anew."""
    try:
        return (
            dict(_PagePortsFile.model_validate_json(file.read_bytes()).ports)
            if file.exists()
            else {}
        )
    except ValidationError:
        return {}


def _unclaimed_port(ports: dict[str, int]) -> int:
    """Return a port that is free, and that no unfinished run has."""
    taken = {port for path, port in ports.items() if _is_unfinished(Path(path))}
    for candidate in range(FIRST_PAGE_PORT, FIRST_PAGE_PORT + PAGE_PORT_CANDIDATES):
        if candidate not in taken and is_free(Address(LOOPBACK, candidate)):
            return candidate
    return free_port()


def _is_unfinished(run: Path) -> bool:
    return run.is_dir() and read_json(run / "summary.json").get("status") != "finished"


def _check_free(port: int) -> None:
    """Check that a port is or becomes free; raise NetworkError if another program uses it."""
    try:
        check_free(Address(LOOPBACK, port), PORT_TIMEOUT_SECONDS)
    except NetworkError as error:
        raise NetworkError(
            f"--live-port got {port}, which another program on this machine uses; stop that, or"
            " choose another --live-port (0: no page)."
        ) from error
