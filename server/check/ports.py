"""Checks of the ports that the server would listen on; they name the program on a port in use."""

from collections.abc import Iterator
from pathlib import Path

from fedshelf.common.errors import NetworkError
from fedshelf.server.addresses import LOOPBACK, Address, check_free
from fedshelf.server.check.finding import CheckFinding, CheckSubject
from fedshelf.server.launcher.page_port import FIRST_PAGE_PORT
from fedshelf.server.launcher.running_launchers import user_name

LISTEN_STATE = "0A"  # the state of a socket in /proc/net/tcp


def ports(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Check the port for stores and the port of the live page."""
    if error := _port_error(subject.address):
        yield CheckFinding("fail", "port", error)
    else:
        yield CheckFinding("ok", "port", f"{subject.address} is free for the stores.")
    page = Address(LOOPBACK, FIRST_PAGE_PORT if subject.live_port is None else subject.live_port)
    if not page.port:
        return
    if not (error := _port_error(page)):
        yield CheckFinding("ok", "page", f"{page} is free for the live page.")
    elif subject.live_port is None:
        yield CheckFinding(
            "warn",
            "page",
            f"{error} You can also ignore this: the live page takes the next free port.",
        )
    else:
        yield CheckFinding("fail", "page", error)


def listening_program(port: int) -> str:
    """Describe the program that listens on a port of this machine; empty if unknown."""
    for table in ("tcp", "tcp6"):
        try:
            lines = (Path("/proc/net") / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            local, state, user, inode = (line.split()[column] for column in (1, 3, 7, 9))
            if state == LISTEN_STATE and int(local.rpartition(":")[2], 16) == port:
                return (
                    _process_with(f"socket:[{inode}]")
                    or f"a process of the user {user_name(int(user))}"
                )
    return ""


def _port_error(address: Address) -> str:
    """Return why no server can listen at an address, in a sentence; empty if one can."""
    try:
        check_free(address)
    except NetworkError as error:
        program = listening_program(address.port)
        return (
            f"{address} is used by {program}; stop it, or choose another port."
            if program
            else str(error)
        )
    return ""


def _process_with(socket: str) -> str:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) == socket for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"process {process.name} ({name})"
        except OSError:  # another user's, or ended meanwhile
            continue
    return ""
