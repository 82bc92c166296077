"""`flower-server check` at a terminal, or for a program."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedshelf.common.config import STORES_OWN, resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.text import sanitize
from fedshelf.server.check.examine import examine, exit_code
from fedshelf.server.check.finding import CheckFinding
from fedshelf.server.check.subject import CheckSubject
from fedshelf.server.operations.entrance import entrance

_LONGEST = 2000  # characters of a line: the names of many classes are listed in full


def check_server(
    credentials: Path,
    address: tuple[str | None, int | None],
    live_port: int | None,
    settings: Mapping[str, Any],
    *,
    as_json: bool,
) -> int:
    """Run all checks, print one line for each finding, and return the exit code.

    address: host and port for stores; None: as `start` would choose them

    Raises ConfigError for settings that no run can have.
    """
    from fedshelf.server.training.resume_model import adopt  # loads torch

    config = resolve({"data.dataset": STORES_OWN}, adopt(dict(settings)))
    found: list[CheckFinding] = []
    try:
        where, chain = entrance(credentials, *address, insecure=False)
        assert chain is not None
    except ConfigError as error:
        found.append(_told(CheckFinding("fail", "credentials", str(error)), silently=as_json))
    else:
        subject = CheckSubject(chain, where, live_port, Path(config.run.out or "runs"), config)
        found += [_told(finding, silently=as_json) for finding in examine(subject)]
    if as_json:
        print(
            json.dumps(
                [dataclasses.asdict(finding) for finding in found], ensure_ascii=False, indent=2
            )
        )
    return exit_code(found)


def _told(finding: CheckFinding, *, silently: bool) -> CheckFinding:
    if not silently:
        print(
            f"{finding.verdict:4}  {finding.about}: {sanitize(finding.told, _LONGEST)}", flush=True
        )
    return finding
