"""`flower-server check`: runs all checks, and prints their findings for a person or a program."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedshelf.common.config import STORES_OWN, resolve
from fedshelf.common.errors import ConfigError, FedshelfError, RunError
from fedshelf.common.text import sanitize
from fedshelf.server.check.certificates import certificates, credentials, names
from fedshelf.server.check.finding import CheckFinding, CheckSubject
from fedshelf.server.check.machine import clock, disk
from fedshelf.server.check.ports import ports
from fedshelf.server.check.training import flower, test_photos
from fedshelf.server.operations.listing_output import to_json
from fedshelf.server.operations.store_access import resolve_store_access
from fedshelf.server.settings import recipes
from fedshelf.server.settings.own_code import allow_of_run

MAX_LINE_CHARACTERS = 2000  # characters of a line: the names of many classes are listed in full

# in the order in which a person repairs things
SERVER_CHECKS: dict[str, Callable[[CheckSubject], Iterable[CheckFinding]]] = {
    "credentials": credentials,
    "clock": clock,
    "certificate": certificates,
    "name": names,
    "port": ports,
    "test data": test_photos,
    "disk": disk,
    "flower": flower,
}


def run_checks(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Yield each check's findings as soon as they are known.

    A check that cannot be made has failed, and its finding says why.
    """
    for about, check in SERVER_CHECKS.items():
        try:
            yield from check(subject)
        except (FedshelfError, OSError, ValueError) as error:
            yield CheckFinding("fail", about, " ".join(str(error).split()))


def exit_code(findings: Iterable[CheckFinding]) -> int:
    """Return 0 unless a check failed."""
    return RunError.exit_code if any(finding.verdict == "fail" for finding in findings) else 0


def check_server(
    directory: Path,
    address: tuple[str | None, int | None],
    live_port: int | None,
    settings: Mapping[str, Any],
    *,
    as_json: bool,
) -> int:
    """Run all checks, and print one line for each finding.

    Args:
        directory: the chain's credentials directory
        address:   host and port for stores; None: as `start` would choose them
        live_port: port of the live page; None: no particular one is wanted; 0: no page
        settings:  flat settings of the run
        as_json:   True to print one JSON list instead

    Returns:
        The exit code.

    Raises:
        ConfigError: no run can have these settings.
    """
    from fedshelf.server.training.resume_model import adopt  # loads torch

    allow_of_run(None, settings)
    completed = recipes.complete(adopt(dict(settings)), photos=True)
    config = resolve({"data.dataset": STORES_OWN}, completed.settings)
    findings: list[CheckFinding] = []
    try:
        address_for_stores, chain = resolve_store_access(directory, *address, insecure=False)
        assert chain is not None
    except ConfigError as error:
        findings.append(
            _print_finding(CheckFinding("fail", "credentials", str(error)), silently=as_json)
        )
    else:
        subject = CheckSubject(
            chain, address_for_stores, live_port, Path(config.run.out or "runs"), config
        )
        findings += [_print_finding(finding, silently=as_json) for finding in run_checks(subject)]
    if as_json:
        print(to_json(findings))
    return exit_code(findings)


def _print_finding(finding: CheckFinding, *, silently: bool) -> CheckFinding:
    if not silently:
        print(
            f"{finding.verdict:4}  {finding.about}: {sanitize(finding.told, MAX_LINE_CHARACTERS)}",
            flush=True,
        )
    return finding
