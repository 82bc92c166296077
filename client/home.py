"""Where a store keeps what must survive: its key, its policy, its audit log."""

from pathlib import Path

from common.errors import ConfigError
from common.files import state_directory
from common.naming import check_store_name
from common.suggest import did_you_mean

STATES = "states"  # the folder, in a store's home, of what its strategies keep between rounds


def store_home(name: str) -> Path:
    """The store's own directory, made (mode 0700) if need be. Raises OSError; ConfigError for a name that is none."""
    home = state_directory() / "stores" / check_store_name(name)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def known_home(name: str) -> Path:
    """The directory of a store that has one here. Raises ConfigError, naming those that have."""
    home = state_directory() / "stores" / check_store_name(name)
    if not home.is_dir():
        known = sorted(path.name for path in home.parent.glob("*"))
        raise ConfigError(
            f"--name got {name!r}; stores that were set up on this machine: {', '.join(known) or 'none'}."
            + did_you_mean(name, known)
        )
    return home
