"""Charges of the ledger, and the file that holds them: `privacy.json` in a store's home.

Each charge has a hash of itself and of all charges before it. So one hash names a state of the
ledger, and a file that was set back lacks the hash of its last charge.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from fedshelf.common.privacy.accountant import SampledGaussian
from fedshelf.common.system.files import write_text

LEDGER_FILE = "privacy.json"
EMPTY_HASH = "0" * 64  # names the ledger without charges

Budget = Literal["epsilon", "epsilon_judging"]
"""The key of the policy that limits a charge."""


@dataclass(frozen=True)
class Charge:
    """A release that was paid for.

    Attributes:
        budget: The policy's key that limits it.
        identity: Of the release; it is charged once.
        order: Identity of the order that asked for it; empty: none did.
        run: Identity of its run; empty: it belongs to none.
        round: From 1; 0: it belongs to none.
        noise, rate, steps: See `SampledGaussian`.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)

    budget: Budget
    identity: str
    order: str
    run: str
    round: int
    noise: float
    rate: float
    steps: int

    @property
    def mechanism(self) -> SampledGaussian:
        """The noise with which it was made."""
        return SampledGaussian(self.noise, self.rate, self.steps)


@dataclass(frozen=True)
class _LedgerFile:
    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)

    hash: str
    charges: list[Charge]


_FILE = TypeAdapter(_LedgerFile)


def chain_hashes(charges: Iterable[Charge]) -> list[str]:
    """Return the hash of the empty ledger, and that after each charge."""
    hashes = [EMPTY_HASH]
    for charge in charges:
        content = json.dumps([hashes[-1], _values(charge)])
        hashes.append(hashlib.sha256(content.encode()).hexdigest())
    return hashes


def read_charges(path: Path) -> tuple[Charge, ...]:
    """Return the charges in a ledger's file, the first one first; none if there is no file.

    Raises ValueError if it is damaged, OSError.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    try:
        file = _FILE.validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{path} is no ledger") from error
    if chain_hashes(file.charges)[-1] != file.hash:
        raise ValueError(f"{path} does not have the hash of its charges")
    return tuple(file.charges)


def write_charges(path: Path, charges: Sequence[Charge]) -> None:
    """Write a ledger's file; it is on disk when this returns. Raises OSError."""
    lines = ",\n".join(json.dumps(_values(charge)) for charge in charges)
    write_text(path, f'{{"hash": "{chain_hashes(charges)[-1]}", "charges": [\n{lines}\n]}}\n')


def _values(charge: Charge) -> dict[str, object]:
    """Return the fields as they are read back: a noise of 2 is 2.0, else its hash would differ."""
    return {**vars(charge), "noise": float(charge.noise), "rate": float(charge.rate)}
