"""Addresses of a store's server: those in its kit, and those that the chain has signed since."""

import logging
from collections.abc import Sequence
from pathlib import Path

from fedshelf.common.protocol.address_list import AddressList
from fedshelf.common.system.files import write_text

LOG = logging.getLogger("fedshelf.store")


class KnownAddresses:
    """The addresses of one server, HOST:PORT, in the order in which they are tried.

    Args:
        given: Those of the kit, or of the command line.
        authority: PEM of the only authority that the server's certificate may come from; None:
            plain HTTP.
        file: Keeps the chain's latest signed list, whose addresses come first; None: no list is
            accepted.
        checks_names: The server's certificate must name the host that is called. If False, the
            authority's signature is enough (for a person who gave the address): it signs for this
            chain's server only.
        last_answering: The address that answered last; the first one until one has.
    """

    def __init__(
        self,
        given: Sequence[str],
        authority: bytes | None = None,
        file: Path | None = None,
        *,
        checks_names: bool = True,
    ) -> None:
        self._given = given
        self.authority = authority
        self._file = file
        self.checks_names = checks_names
        self._list = self._read_file()
        self.last_answering = self.all[0]

    @property
    def all(self) -> tuple[str, ...]:
        """All addresses, each once."""
        return tuple(dict.fromkeys([*(self._list.addresses if self._list else ()), *self._given]))

    @property
    def scheme(self) -> str:
        """The URL scheme of the server's addresses: http or https."""
        return "http" if self.authority is None else "https"

    def keep_signed_list(self, header: str) -> None:
        """Keep a list that the server sent, if the chain's authority has signed it and it is a
        newer one.
        """
        if self._file is None or self.authority is None:
            return
        try:
            received = AddressList.read(header, self.authority.decode())
        except ValueError:
            LOG.warning(
                "The server sent addresses that its chain has not signed; they are not used."
            )
            return
        if self._list is not None and received.number <= self._list.number:
            return
        self._list = received
        LOG.warning(
            "The chain's server moves: from now on this store looks for it at %s.",
            ", ".join(received.addresses),
        )
        try:
            write_text(self._file, header)
        # a full disk must not end a heartbeat: its thread may be the first to see the list
        except OSError as error:
            LOG.warning(
                "%s cannot be written (%s): after a restart, this store does not know the new"
                " address.",
                self._file,
                error.strerror,
            )

    def _read_file(self) -> AddressList | None:
        if self._file is None or self.authority is None or not self._file.exists():
            return None
        try:
            return AddressList.read(self._file.read_text(encoding="utf-8"), self.authority.decode())
        except ValueError:
            LOG.warning("%s is damaged; the addresses in the kit are used.", self._file)
            return None
