"""Checks of the store's own settings."""

from collections.abc import Iterator

from fedshelf.client.health.evidence.evidence import Evidence
from fedshelf.client.health.evidence.finding import Finding


def policy(evidence: Evidence) -> Iterator[Finding]:
    """Find a policy that cannot be read: the store would refuse to start."""
    if evidence.policy_error:
        yield Finding(
            "settings",
            "problem",
            evidence.policy_error,
            "Mend the policy; the store does not join without it.",
        )
