"""What a store may be called: the name goes into histories, reports and file names."""

import re

from common.errors import ConfigError

_NAME = re.compile(r"\w[\w .-]{0,62}")


def check_store_name(name: str) -> str:
    """The name itself. Raises ConfigError unless it is 1 to 63 letters, digits, spaces, dots, - or _."""
    if not _NAME.fullmatch(name) or name != name.strip():
        raise ConfigError(
            f"Store name {name[:80]!r} cannot be used; expected 1 to 63 letters, digits, spaces, dots, - or _, "
            "starting with a letter or digit."
        )
    return name
