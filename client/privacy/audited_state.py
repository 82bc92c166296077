"""The ledger's state in the audit log, which has a line for each charge.

The line is written before the first answer that was charged leaves. So a ledger that lacks the
state of the last line was set back, or is gone.
"""

from collections.abc import Iterator
from pathlib import Path

from fedshelf.client.audit import AUDIT_FILE, AuditEntry, AuditNote
from fedshelf.client.audit.entry import decode
from fedshelf.client.audit.files import lines
from fedshelf.client.privacy.charges import EMPTY_HASH, Budget, Charge, chain_hashes
from fedshelf.common.privacy.accountant import epsilon

# purpose of a training with noise, in the line of its order: a repeated one has no charge
PRIVATE_TRAINING = "asked to train with noise"
STATE_EVENTS = ("charged", "forgotten")  # their lines have the ledger's state as their SHA-256
_MARKS = tuple(f'"event":"{event}"'.encode() for event in STATE_EVENTS)


def audited_hash(home: Path) -> str:
    """Return the hash of the ledger's latest state in the audit log of a store's `home`.

    Lines that were changed do not count. Raises OSError.
    """
    latest = EMPTY_HASH
    for _, _, line in lines(home / AUDIT_FILE):
        if any(mark in line for mark in _MARKS):  # decoding every line would take 50 times as long
            entry = _decoded(line)
            if entry is not None and entry.event in STATE_EVENTS:
                latest = entry.sha256
    return latest


def charge_notes(charges: tuple[Charge, ...], known: str, delta: float) -> Iterator[AuditNote]:
    """Yield a line for each charge after a known state, with its noise and the total so far.

    Args:
        charges: Those of the ledger.
        known: Hash of a state of the ledger.
        delta: That of the policy.
    """
    hashes = chain_hashes(charges)
    for number in range(hashes.index(known), len(charges)):
        charge = charges[number]
        total = _total(charges[: number + 1], charge.budget, delta)
        yield AuditNote(
            "charged",
            charge.budget,
            charge.run,
            charge.round,
            sha256=hashes[number + 1],
            why=(
                f"noise {charge.noise:g}, rate {charge.rate:g}, steps {charge.steps};"
                f" {charge.budget} {total:.4g} so far, delta {delta:g}"
            ),
        )


def _total(charges: tuple[Charge, ...], budget: Budget, delta: float) -> float:
    return epsilon([charge.mechanism for charge in charges if charge.budget == budget], delta)


def _decoded(line: bytes) -> AuditEntry | None:
    try:
        return decode(line)
    except ValueError:
        return None
