"""A check's input and output: the server that somebody wants to start, and a finding about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedshelf.common.config import RunConfig
from fedshelf.server.addresses import Address
from fedshelf.server.credentials.chain import Chain

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class CheckSubject:
    """The server that somebody wants to start.

    Attributes:
        chain:     its credentials
        address:   address for stores
        live_port: port of the live page; None: no particular one is wanted; 0: no page
        run:       the run directory, which need not exist yet
        config:    the settings
    """

    chain: Chain
    address: Address
    live_port: int | None
    run: Path
    config: RunConfig


@dataclass(frozen=True)
class CheckFinding:
    """A line of the check.

    Attributes:
        verdict: warn: the server can start, but a person should know; fail: it cannot, or no store
            could join
        about:   the subject, in a word or two
        told:    the finding, and the remedy if it is not ok
    """

    verdict: Verdict
    about: str
    told: str
