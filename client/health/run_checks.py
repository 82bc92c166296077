"""All checks of a store, and the quick ones among them, with which joining a server begins.

photos, machine, server, model  -->  Evidence  -->  CHECKS  -->  Findings  -->  Report
        (gathered once)                       (plain functions)           health.html, exit code
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.client.health.checks import CHECKS, Check
from fedshelf.client.health.evidence.finding import SEVERITIES, Finding, Kind
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.client.health.evidence.label_errors import find_label_errors, load
from fedshelf.client.health.evidence.machine import inspect_machine
from fedshelf.client.health.evidence.photos import Progress, list_photos, measure_photos
from fedshelf.client.health.evidence.server_probe import Proof, probe_server
from fedshelf.client.policy.own_code import allow_listed
from fedshelf.client.policy.policy import load_policy
from fedshelf.common.errors import ConfigError, DataError, NetworkError
from fedshelf.common.images.folder.photo_index import PhotoIndex

# The exit code is that of the first kind, in this order, with a problem; a machine counts like a
# setting.
EXIT_CODES: dict[Kind, int] = {
    "photos": DataError.exit_code,
    "server": NetworkError.exit_code,
    "settings": ConfigError.exit_code,
    "machine": ConfigError.exit_code,
}

ProgressOf = Callable[[str], Progress]


@dataclass(frozen=True)
class Subject:
    """The store to be checked, and the optional inputs.

    Attributes:
        store: Its name.
        data: Folder of photos, or a CSV file of them.
        server: Addresses of the server, and its authority; None: it is not called.
        model: Model.safetensors, or the directory that holds it, or None.
        policy: File, or None.
        proof: Of membership in the chain, see `client.health.evidence.server_probe.proof_of`; None:
            classes are not asked for.
    """

    store: str
    data: Path
    server: KnownAddresses | None = None
    model: Path | None = None
    policy: Path | None = None
    proof: Proof | None = None


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        outcomes: Every check that was made, in the order of the list of checks, with its findings.
    """

    store: str
    made: datetime
    evidence: Evidence
    outcomes: tuple[tuple[Check, tuple[Finding, ...]], ...]

    @property
    def findings(self) -> list[Finding]:
        """All findings, the worst first."""
        return _worst_first(finding for _, findings in self.outcomes for finding in findings)

    @property
    def passed(self) -> list[str]:
        """Titles of the checks that found nothing."""
        return [check.title for check, findings in self.outcomes if not findings]


def run_checks(subject: Subject, progress: ProgressOf) -> Report:
    """Gather the evidence about a store and run all checks that apply.

    Args:
        subject: The store and the optional inputs.
        progress: Makes a function of (done, total) for each step's name.

    Raises:
        ConfigError: The model cannot be used.
    """
    # first: a mistake should show before the long work
    if subject.model and subject.policy and not _policy_error(subject.policy):
        allow_listed(load_policy(subject.policy))
    network = load(subject.model) if subject.model else None
    photos = measure_photos(subject.data, progress("Looking at photos"), _classes(subject.policy))
    if network and photos.scenes:
        raise ConfigError(
            f"--model got {subject.model}, which looks for photos in a wrong class folder, and the"
            f" photos in {subject.data} are scenes with boxes; leave --model out."
        )
    evidence = Evidence(
        photos,
        inspect_machine(),
        probe=probe_server(subject.server, subject.proof) if subject.server else None,
        label_errors=find_label_errors(network, photos.usable, progress("Asking the model"))
        if network
        else None,
        policy_error=_policy_error(subject.policy),
    )
    made = tuple(
        (check, tuple(check.find(evidence)))
        for check in CHECKS
        if _applies(check, subject) and check.fits(evidence)
    )
    return Report(subject.store, datetime.now().astimezone(), evidence, made)


def quick_check(
    data: Path, policy: Path | None = None, index: PhotoIndex | None = None
) -> list[Finding]:
    """Return the findings that need no reading, the worst first.

    They are about counts, names, copies among photos read before, the machine and the policy. No
    photo is read and no server called.

    Args:
        data: Folder of photos, or a CSV file of them.
        policy: The store's policy file; None: it has none.
        index: List of the photos, if this process has made one already.
    """
    evidence = Evidence(
        list_photos(data, _classes(policy), index),
        inspect_machine(),
        policy_error=_policy_error(policy),
    )
    return _worst_first(
        finding
        for check in CHECKS
        if check.quick and check.fits(evidence)
        for finding in check.find(evidence)
    )


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 if the store can take part, else the exit code of the error with which joining would
    end.
    """
    kinds = {finding.kind for finding in findings if finding.severity == "problem"}
    return next((code for kind, code in EXIT_CODES.items() if kind in kinds), 0)


def _worst_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _applies(check: Check, subject: Subject) -> bool:
    """Return whether a check has its inputs: a check that was not made is not reported as
    passed.
    """
    given = {
        "server": subject.server,
        "proof": subject.proof,
        "model": subject.model,
        "policy": subject.policy,
        "authority": subject.server and subject.server.authority,
    }
    return check.needs is None or given[check.needs] is not None


def _classes(policy: Path | None) -> tuple[str, ...]:
    """Return the class names that the store's policy lists."""
    return load_policy(policy).classes if policy is not None and not _policy_error(policy) else ()


def _policy_error(path: Path | None) -> str:
    try:
        if path is not None:
            load_policy(path)
    except ConfigError as error:
        return str(error)
    return ""
