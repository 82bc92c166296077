"""Gather, then judge: the whole check, and the quick part of it that joining a server begins with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.client.health.checks import CHECKS, Check
from fedshelf.client.health.evidence.evidence import Evidence
from fedshelf.client.health.evidence.finding import SEVERITIES, Finding, Kind
from fedshelf.client.health.evidence.label_errors import guess, load
from fedshelf.client.health.evidence.machine import inspect
from fedshelf.client.health.evidence.photos import Progress, gather, glance
from fedshelf.client.health.evidence.server_probe import Proof, call
from fedshelf.client.policy.policy import load_policy
from fedshelf.common.errors import ConfigError, DataError, NetworkError

# What a person is told to mend first decides; a machine is mended like a setting.
EXIT_CODES: dict[Kind, int] = {
    "photos": DataError.exit_code,
    "server": NetworkError.exit_code,
    "settings": ConfigError.exit_code,
    "machine": ConfigError.exit_code,
}

ProgressOf = Callable[[str], Progress]


@dataclass(frozen=True)
class Subject:
    """What is to be checked.

    store:     its name
    data:      folder of photos, or a CSV file of them
    server:    where the server is looked for, and how it proves who it is; None: it is not called
    model:     model.safetensors, or the directory that holds it, or None
    policy:    file, or None
    proof:     of membership in the chain, see `client.health.evidence.server_probe.proof_of`; None: classes are not
               asked for
    """

    store: str
    data: Path
    server: KnownAddresses | None = None
    model: Path | None = None
    policy: Path | None = None
    proof: Proof | None = None


@dataclass(frozen=True)
class Report:
    """What was found.

    outcomes: every check that was made, in the order of the list of checks, with its findings
    """

    store: str
    made: datetime
    evidence: Evidence
    outcomes: tuple[tuple[Check, tuple[Finding, ...]], ...]

    @property
    def findings(self) -> list[Finding]:
        """All of them, the worst first."""
        return _worst_first(finding for _, findings in self.outcomes for finding in findings)

    @property
    def passed(self) -> list[str]:
        """What is so: the titles of the checks that found nothing."""
        return [check.title for check, findings in self.outcomes if not findings]


def examine(subject: Subject, progress: ProgressOf) -> Report:
    """The whole check. `progress` makes a progress of each step's name. Raises ConfigError for an unusable model."""
    network = load(subject.model) if subject.model else None  # first: a mistake should show before the long work
    photos = gather(subject.data, progress("Looking at photos"), _classes(subject.policy))
    evidence = Evidence(
        photos,
        inspect(),
        line=call(subject.server, subject.proof) if subject.server else None,
        guesses=guess(network, photos.usable, progress("Asking the model")) if network else None,
        policy=_policy(subject.policy),
    )
    made = tuple((check, tuple(check.find(evidence))) for check in CHECKS if _applies(check, subject))
    return Report(subject.store, datetime.now().astimezone(), evidence, made)


def quick(data: Path, policy: Path | None = None) -> list[Finding]:
    """What can be said at once, the worst first: counts, names, copies among known photos; the machine; the policy.

    Reads no photo and calls nobody.
    """
    evidence = Evidence(glance(data, _classes(policy)), inspect(), policy=_policy(policy))
    return _worst_first(finding for check in CHECKS if check.quick for finding in check.find(evidence))


def exit_code(findings: Iterable[Finding]) -> int:
    """0 if the store can take part, else that of the error that joining would end with."""
    kinds = {finding.kind for finding in findings if finding.severity == "problem"}
    return next((code for kind, code in EXIT_CODES.items() if kind in kinds), 0)


def _worst_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _applies(check: Check, subject: Subject) -> bool:
    """Whether there was anything to look at: a check that was not made is not one that was passed."""
    given = {
        "server": subject.server,
        "proof": subject.proof,
        "model": subject.model,
        "policy": subject.policy,
        "authority": subject.server and subject.server.authority,
    }
    return check.needs is None or given[check.needs] is not None


def _classes(policy: Path | None) -> tuple[str, ...]:
    """The names that are known to be classes, as the store's policy has them."""
    return load_policy(policy).classes if policy is not None and not _policy(policy) else ()


def _policy(path: Path | None) -> str:
    try:
        if path is not None:
            load_policy(path)
    except ConfigError as error:
        return str(error)
    return ""
