"""The subject of the checks: the inputs of `flower-server start`."""

from dataclasses import dataclass
from pathlib import Path

from fedshelf.common.config import RunConfig
from fedshelf.server.addresses import Address
from fedshelf.server.credentials.chain import Chain


@dataclass(frozen=True)
class CheckSubject:
    """The server that somebody wants to start.

    chain:     its credentials
    address:   address for stores
    live_port: of the page; None: no particular one is wanted; 0: no page
    run:       the run directory, which need not exist yet
    config:    the settings
    """

    chain: Chain
    address: Address
    live_port: int | None
    run: Path
    config: RunConfig
