"""`flower-client check`: all checks, run from a terminal."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.client.health.evidence.finding import Finding
from fedshelf.client.health.folder_summary import progress_of_steps
from fedshelf.client.identity.enrolment import addresses_of
from fedshelf.client.identity.home import store_home
from fedshelf.client.policy.policy import POLICY_FILE
from fedshelf.common.protocol.kit import Kit
from fedshelf.common.text import printable

if TYPE_CHECKING:
    from fedshelf.client.health.run_checks import Report


def check_store(
    data: Path,
    name: str,
    kit: Path | None,
    server: str,
    model: Path | None,
    policy: Path | None,
    out: Path | None,
) -> int:
    """Run the checks, write the page, print what is to be done; return the exit code.

    An argument is empty or None if the command line did not give it. Raises ConfigError for a
    name, a kit or a model that cannot be used, OSError if the page cannot be written.
    """
    read = Kit.read(kit) if kit else None
    store = name or (read.store if read else data.resolve().name)
    home = store_home(store)
    from fedshelf.client.health.evidence.server_probe import proof_of
    from fedshelf.client.health.page import write_page
    from fedshelf.client.health.run_checks import Subject, exit_code, run_checks  # loads torch

    subject = Subject(
        store,
        data,
        _called(read, server),
        model,
        policy or (home / POLICY_FILE if (home / POLICY_FILE).exists() else None),
        partial(proof_of, read) if read else lambda _: b"{}",
    )
    with progress_of_steps() as progress:
        report = run_checks(subject, progress)
    page = write_page(report, out or home)
    if not report.evidence.photos.trouble:
        print(f"Store {store}: {printable(report.evidence.photos.summary())}")
    for finding in report.findings:
        print(line(finding))
    print(f"{_verdict(report)} The page, which stays on this machine: {page}")
    return exit_code(report.findings)


def _called(kit: Kit | None, server: str) -> KnownAddresses | None:
    """Return the addresses that `join` would call; None: no server is named."""
    if kit:
        return addresses_of(kit, server)
    return KnownAddresses((server,)) if server else None


def line(finding: Finding) -> str:
    """Return a finding with its advice on one line."""
    return f"{finding.severity.capitalize()}: {printable(finding.what)} {printable(finding.advice)}"


def _verdict(report: "Report") -> str:
    problems = sum(finding.severity == "problem" for finding in report.findings)
    warnings = sum(finding.severity == "warning" for finding in report.findings)
    if problems:
        return f"{report.store} cannot take part yet."
    return f"{report.store} can take part{' all the same' if warnings else ''}."
