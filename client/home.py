"""Where a store keeps what must survive: its key, its policy, its audit log."""

from pathlib import Path

from common.files import state_directory
from common.naming import check_store_name


def store_home(name: str) -> Path:
    """The store's own directory, made (mode 0700) if need be. Raises OSError; ConfigError for a name that is none."""
    home = state_directory() / "stores" / check_store_name(name)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home
