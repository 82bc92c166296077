"""`flower-client check`: the whole check at a terminal."""

from pathlib import Path
from typing import TYPE_CHECKING

from client.health.finding import Finding, printable
from client.home import store_home
from client.policy import FILE
from common.kit import Kit

if TYPE_CHECKING:
    from client.health.examine import Report, Subject
    from client.health.photos import Progress as Tell


def check_store(
    data: Path, name: str, kit: Path | None, server: str, model: Path | None, policy: Path | None, out: Path | None
) -> int:
    """Check, write the page, say what is to be done; returns the exit code.

    Empty or None is what the command line was not given. Raises ConfigError for a name, a kit or a model that cannot
    be used, OSError if the page cannot be written.
    """
    read = Kit.read(kit) if kit else None
    store = name or (read.store if read else data.resolve().name)
    home = store_home(store)
    from client.health.examine import Subject, exit_code  # loads torch
    from client.health.line import proof_of
    from client.health.page import write_page

    subject = Subject(
        store,
        data,
        server or (read.server if read else None),
        read.authority.encode() if read else None,
        model,
        policy or (home / FILE if (home / FILE).exists() else None),
        proof_of(read) if read else b"{}",
    )
    report = _examine(subject)
    page = write_page(report, out or home)
    for finding in report.findings:
        print(line(finding))
    print(f"{_verdict(report)} The page, which stays on this machine: {page}")
    return exit_code(report.findings)


def line(finding: Finding) -> str:
    """A finding on one line, what to do included."""
    return f"{finding.severity.capitalize()}: {printable(finding.what)} {printable(finding.advice)}"


def _examine(subject: "Subject") -> "Report":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from client.health.examine import examine

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def of(step: str) -> "Tell":
            task = progress.add_task(step, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        return examine(subject, of)


def _verdict(report: "Report") -> str:
    problems = sum(finding.severity == "problem" for finding in report.findings)
    warnings = sum(finding.severity == "warning" for finding in report.findings)
    if problems:
        return f"{report.store} cannot take part yet."
    return f"{report.store} can take part{' all the same' if warnings else ''}."
