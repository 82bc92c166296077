"""All checks, in the order in which a person repairs things."""

from collections.abc import Callable, Iterable, Iterator

from fedshelf.common.errors import FedshelfError, RunError
from fedshelf.server.check.certificates import certificates, credentials, names
from fedshelf.server.check.finding import CheckFinding
from fedshelf.server.check.machine import clock, disk
from fedshelf.server.check.ports import ports
from fedshelf.server.check.subject import CheckSubject
from fedshelf.server.check.training import flower, test_photos

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


def examine(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Yield each check's findings as soon as they are known; a check that cannot be made has
    failed, and says why.
    """
    for about, check in SERVER_CHECKS.items():
        try:
            yield from check(subject)
        except (FedshelfError, OSError, ValueError) as error:
            yield CheckFinding("fail", about, " ".join(str(error).split()))


def exit_code(findings: Iterable[CheckFinding]) -> int:
    """Return 0 unless a check failed."""
    return RunError.exit_code if any(finding.verdict == "fail" for finding in findings) else 0
