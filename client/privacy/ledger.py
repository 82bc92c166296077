"""The ledger: how much all answers of a store have told of one photo, and how much they may.

    order --> check --> photos, training's identity --> charge, on disk --> training --> answer

A release is charged before it is made. So a process that is killed at any moment leaves a ledger
that counts too much, never too little. What is made again with the same identity is the same to
the bit, tells nothing new and costs nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from fedshelf.client.failures import StoreError
from fedshelf.client.privacy.audited_state import audited_hash
from fedshelf.client.privacy.charges import (
    LEDGER_FILE,
    Budget,
    Charge,
    chain_hashes,
    read_charges,
    write_charges,
)
from fedshelf.common.privacy.accountant import epsilon


@dataclass(frozen=True)
class PrivacyLimits:
    """Limits of a store's policy.

    Attributes:
        epsilons: Most that a budget may tell of one photo; 0: no limit.
        delta: At which they hold.
    """

    epsilons: Mapping[Budget, float]
    delta: float


class Ledger:
    """The ledger in a store's `home`; several processes may charge it.

    Its methods raise StoreError if the file is damaged, missing or set back, by the audit log or
    by what this process has seen; then nothing may leave. They raise OSError as files do.

    Args:
        home: The store's home, with its audit log.
        limits: Those of its policy.
    """

    def __init__(self, home: Path, limits: PrivacyLimits) -> None:
        self._home = home
        self._path = home / LEDGER_FILE
        self._limits = limits
        self._lock = FileLock(home / f".{LEDGER_FILE}.lock")
        self._seen: str | None = None  # hash of the latest state; None: not looked at yet

    def charges(self) -> tuple[Charge, ...]:
        """Return all charges, the first one first."""
        if self._seen is None:
            self._seen = audited_hash(self._home)
        try:
            charges = read_charges(self._path)
        except ValueError as error:
            raise self._untrusted("damaged") from error
        hashes = chain_hashes(charges)
        if self._seen not in hashes:
            fault = "older than the audit log, or this process, knows it"
            raise self._untrusted(fault if self._path.exists() else "missing")
        self._seen = hashes[-1]
        return charges

    def check_room(self, asked: Charge) -> None:
        """Check that an order may be charged, before its photos are looked at.

        An order that was charged already may come again. Raises StoreError if it would pass the
        limit.

        Args:
            asked: Its charge, whose identity is not known yet.
        """
        charges = self.charges()
        if not any(known.order == asked.order for known in charges):
            self._check_limit([*charges, asked])

    def charge(self, charge: Charge) -> None:
        """Charge a release, on disk when this returns; nothing if its identity was charged before.

        Raises StoreError if it would pass the limit, and charges nothing then.
        """
        with self._lock:
            charges = self.charges()
            if any(charge.identity == known.identity for known in charges):
                return
            charged = [*charges, charge]
            self._check_limit(charged)
            write_charges(self._path, charged)
            self._seen = chain_hashes(charged)[-1]

    def spent(self, budget: Budget, charges: Iterable[Charge]) -> float:
        """Return the epsilon of the charges to a budget, at the policy's delta."""
        mechanisms = [charge.mechanism for charge in charges if charge.budget == budget]
        return epsilon(mechanisms, self._limits.delta)

    def _check_limit(self, charges: Sequence[Charge]) -> None:
        """Raise StoreError if the last charge makes its budget pass the limit."""
        budget = charges[-1].budget
        limit = self._limits.epsilons[budget]
        total = self.spent(budget, charges) if limit else 0.0
        if total > limit:
            raise StoreError(
                "policy",
                f"The store's policy does not allow the order ({budget}): with it, all answers"
                f" would tell {total:.3g} of one photo; allowed: {limit:g}.",
                budget.replace("_", "-"),
            )

    def _untrusted(self, fault: str) -> StoreError:
        return StoreError(
            "policy",
            f"{self._path}, the record of what was told of the photos, is {fault}: nothing leaves"
            " until its latest copy is back. If there is none: flower-client privacy --name"
            f" {self._home.name} --forget begins a new one, which does not count what was told"
            " before.",
            "privacy-record",
        )
