"""A store's home: the directory of its key, its policy and its audit log."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from fedshelf.common.errors import ConfigError
from fedshelf.common.names import check_store_name
from fedshelf.common.suggest import did_you_mean
from fedshelf.common.system.files import (
    check_private,
    private_directory,
    state_directory,
    sync_directory,
    write_atomic,
)

# In a store's home:
KEY_FILE = "key.pem"  # its private key
PEER_FILE = "peer.json"  # its identity towards other stores, with a private key
REVOKED_PEERS_FILE = "revoked-peers.json"  # the latest list of peer keys that the office revoked
STATES_FOLDER = "states"  # state that strategies keep between rounds
MODELS_FOLDER = "models"  # models that runs delivered, a folder each
SECRET_FILE = "secret.bin"  # from which private trainings draw their samples and their noise

SECRET_BYTES = 32


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


def private_secret(home: Path) -> bytes:
    """Return the store's secret, 32 bytes: drawn once, and the same ever after.

    It never leaves the store. Whoever has it can draw the noise of the store's trainings, and take
    it out of them.

    Args:
        home: The store's directory.

    Raises:
        ConfigError: The file is damaged, or other users can read it.
        OSError: It cannot be read or written.
    """
    path = home / SECRET_FILE
    if not path.exists():
        new = home / f".{SECRET_FILE}.{os.getpid()}"
        write_atomic(new, lambda file: file.write(secrets.token_bytes(SECRET_BYTES)), private=True)
        with suppress(FileExistsError):  # another process of the store was first
            os.link(new, path)
        new.unlink()
        sync_directory(home)
    check_private(path)
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise ConfigError(
            f"{path} has {len(secret)} bytes, expected {SECRET_BYTES}: it is damaged. Restore it"
            " from a backup; with a new one, trainings that are repeated would give other updates."
        )
    return secret
