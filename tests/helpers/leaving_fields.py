"""The table in docs/explanation/privacy.md of every field that leaves a store."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "privacy.md"
ROW = re.compile(r"^\| `(\w+)\.(\w+)` \| [^|]+ \| (\w+) \|$", re.MULTILINE)


def field_rows() -> list[tuple[str, str, str]]:
    """The class, the name and the treatment of each field, in the order of the table."""
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def treatments() -> dict[tuple[str, str], str]:
    """The treatment of each field, by class and name."""
    return {(owner, field): treatment for owner, field, treatment in field_rows()}
