"""Processes below one of ours, and where they listen, as Linux tells in /proc."""

import ipaddress
from pathlib import Path

LISTENING = "0A"


def descendants(root: int) -> set[int]:
    """Process ids below `root`, without it."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended meanwhile
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in found | {root}} - found:
        found |= more
    return found


def listening(processes: set[int]) -> set[str]:
    """Addresses on which any of `processes` accepts TCP connections; IPv4 ones as such, whatever
    the socket.
    """
    sockets = {_target(link) for pid in processes for link in Path(f"/proc/{pid}/fd").glob("*")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            local, state, inode = (line.split()[column] for column in (1, 3, 9))
            if state == LISTENING and f"socket:[{inode}]" in sockets:
                found.add(_address(local.partition(":")[0]))
    return found


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _address(hexadecimal: str) -> str:
    """As the kernel prints it: words of four bytes, each in the order of this (little-endian)
    machine.
    """
    words = [bytes.fromhex(hexadecimal[at : at + 8])[::-1] for at in range(0, len(hexadecimal), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
