"""The subject of the check: the same that `flower-server start` would be told."""

from dataclasses import dataclass
from pathlib import Path

from fedshelf.common.config import RunConfig
from fedshelf.server.addresses import Address
from fedshelf.server.credentials.chain import Chain


@dataclass(frozen=True)
class CheckSubject:
    """The server that somebody wants to start.

    chain:     its credentials
    address:   where stores are to come in
    live_port: of the page; None: nobody asked for one in particular; 0: no page
    run:       the run directory, which need not be there yet
    config:    the settings
    """

    chain: Chain
    address: Address
    live_port: int | None
    run: Path
    config: RunConfig
