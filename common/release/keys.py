"""Keys of releases: the chain signs with one, and users of releases have pinned its public half.

A public key is one line that can be sent and read aloud: `ed25519:` and 32 bytes in base64. Nothing
is trusted at first use: a release whose key is not pinned is refused.
"""

import base64
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fedshelf.common.errors import ConfigError
from fedshelf.common.system.files import check_private, state_directory, write_private, write_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

RELEASE_KEY_VARIABLE = "FEDSHELF_RELEASE_KEY"
"""The variable with a public key, or the file of one; it replaces the pinned ones."""

PINNED_FILE = "release-keys.txt"
"""The file in the state directory with the pinned public keys, one on each line."""

_PREFIX = "ed25519:"
_KEY_BYTES = 32
_MAX_FILE_BYTES = 100_000


def make_key(file: Path) -> str:
    """Write a new private key into a file for this user alone, and its public half beside it.

    Args:
        file: of the private key; the public half gets the suffix `.pub`

    Returns:
        The public key.

    Raises:
        ConfigError: the file is there already.
        OSError: it cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if file.exists():
        raise ConfigError(
            f"{file} is there already; a key is never overwritten, as releases signed with it would"
            " have no successor. Choose another file."
        )
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(file, pem.decode())
    public = public_text(key)
    write_text(public_file(file), public + "\n")
    return public


def public_file(private: Path) -> Path:
    """Return the file of the public half of a private key's file."""
    return private.with_name(private.name + ".pub")


def read_private_key(file: Path) -> "Ed25519PrivateKey":
    """Return the key in a file of `make_key`.

    Raises:
        ConfigError: there is none, others can read it, or it is no such key.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        check_private(file)
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except FileNotFoundError:
        raise ConfigError(
            f"There is no release key {file}; make one: flower-server release-key {file}."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or "no private key in PEM"
        raise ConfigError(
            f"Cannot read the release key {file} ({reason}); expected the file that flower-server"
            " release-key made."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"{file} is a key of another kind; expected one made by: flower-server release-key."
        )
    return key


def public_text(key: "Ed25519PrivateKey") -> str:
    """Return the public half of a key as one line."""
    return _PREFIX + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def key_id(public: str) -> str:
    """Return a short name of a public key: the first digits of its SHA-256."""
    return hashlib.sha256(parse_public_key(public, "the key")).hexdigest()[:16]


def parse_public_key(text: str, source: str) -> bytes:
    """Return the 32 bytes of a public key.

    Args:
        text: as in `public_text`
        source: the words by which an error names it

    Raises:
        ConfigError: it is no public key.
    """
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not text.startswith(_PREFIX) or len(key) != _KEY_BYTES:
        raise ConfigError(
            f"{source} got {text[:60]!r}; expected a public release key, {_PREFIX} and 44"
            " characters, or the file that holds it."
        )
    return key


def read_public_keys(text_or_file: str, source: str) -> tuple[str, ...]:
    """Return the public key that is given, or those in the file that is named.

    Args:
        text_or_file: a key, or the path of a file with one on each line
        source: the words by which an error names it

    Raises:
        ConfigError: it is neither.
    """
    lines = [text_or_file.strip()]
    path = Path(text_or_file)
    if not text_or_file.startswith(_PREFIX) and path.is_file():
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_FILE_BYTES).decode()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{source}: cannot read {path} ({type(error).__name__}).") from error
        lines = [line.strip() for line in content.splitlines() if line.strip()]
    for line in lines:
        parse_public_key(line, source)
    return tuple(lines)


def pinned_keys() -> tuple[str, ...]:
    """Return the public keys that this user trusts.

    Raises:
        ConfigError: they cannot be read.
    """
    if given := os.environ.get(RELEASE_KEY_VARIABLE):
        return read_public_keys(given, RELEASE_KEY_VARIABLE)
    file = state_directory() / PINNED_FILE
    return read_public_keys(str(file), str(file)) if file.is_file() else ()


def pin(public: str) -> Path:
    """Trust releases that are signed with a key, from now on.

    Returns:
        The file that holds the pinned keys.

    Raises:
        ConfigError: it is no public key, or the file cannot be read.
        OSError: the file cannot be written.
    """
    parse_public_key(public, "The key")
    file = state_directory() / PINNED_FILE
    known = read_public_keys(str(file), str(file)) if file.is_file() else ()
    write_text(file, "".join(f"{key}\n" for key in dict.fromkeys((*known, public))))
    return file
