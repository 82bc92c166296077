"""A store's home: the directory of its key, its policy and its audit log."""

from pathlib import Path

from fedshelf.common.errors import ConfigError
from fedshelf.common.names import check_store_name
from fedshelf.common.suggest import did_you_mean
from fedshelf.common.system.files import private_directory, state_directory

# In a store's home:
KEY_FILE = "key.pem"  # its private key
PEER_FILE = "peer.json"  # its identity towards other stores, with a private key
REVOKED_FILE = "revoked-peers.json"  # the latest list of peer keys that the office has revoked
STATES_FOLDER = "states"  # state that strategies keep between rounds
MODELS_FOLDER = "models"  # models that runs delivered, a folder each


def store_home(name: str) -> Path:
    """Return the store's directory, made if need be, private to this user.

    Args:
        name: The store's name.

    Raises:
        ConfigError: The name is none that a store may have.
        OSError: The directory cannot be made.
    """
    return private_directory(state_directory() / "stores" / check_store_name(name))


def known_home(name: str) -> Path:
    """Return the directory of a store that has one on this machine.

    Args:
        name: The store's name.

    Raises:
        ConfigError: There is no such store; the message names those that there are.
    """
    home = state_directory() / "stores" / check_store_name(name)
    if not home.is_dir():
        known = sorted(path.name for path in home.parent.glob("*"))
        raise ConfigError(
            f"--name got {name!r}; stores that were set up on this machine:"
            f" {', '.join(known) or 'none'}." + did_you_mean(name, known)
        )
    return home
