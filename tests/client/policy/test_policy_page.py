"""docs/reference/policy.md tells of every key, with its default."""

import re
import tomllib
from pathlib import Path
from typing import get_args

from fedshelf.client.audit.entry import AuditEntry, Event
from fedshelf.client.policy.policy import Policy

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "policy.md").read_text(encoding="utf-8")


def test_every_key_is_told_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", PAGE, re.MULTILINE)
    told = {key: tomllib.loads(f"x = {default}")["x"] for key, default in rows}
    assert told == Policy().model_dump(mode="json")


def test_every_event_and_field_of_the_log_is_told() -> None:
    log = PAGE.partition("## The audit log")[2]
    for name in (
        *get_args(Event),
        *(name for name in AuditEntry.__dataclass_fields__ if not name.startswith("_")),
    ):
        assert f"`{name}`" in log, name
