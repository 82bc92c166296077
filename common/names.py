"""Names of stores and runs, and which are allowed: they go into histories, reports and file names."""

import re
import unicodedata

from fedshelf.common.errors import ConfigError

_NAME = re.compile(r"\w[\w .-]{0,62}")
_UNFIT = re.compile(r"[^\w .-]+")


def check_store_name(name: str) -> str:
    """The name itself. Raises ConfigError unless it is 1 to 63 letters, digits, spaces, dots, - or _."""
    if not _NAME.fullmatch(name) or name != name.strip():
        raise ConfigError(
            f"Store name {name[:80]!r} cannot be used; expected 1 to 63 letters, digits, spaces, dots, - or _, "
            "starting with a letter or digit."
        )
    return name


def is_run_name(name: str) -> bool:
    """Return whether a run may be called so at stores: as a store may be, and no dot at the end."""
    return bool(_NAME.fullmatch(name)) and name == name.strip().rstrip(".")


def run_name(text: str) -> str:
    """Return the name by which stores call a run whose directory is called `text`; "run" if nothing is left of it."""
    fit = _UNFIT.sub("-", unicodedata.normalize("NFC", text)).lstrip("-. ")[:63].rstrip(". ")
    return fit if is_run_name(fit) else "run"
