"""The keys with which clients of a service prove that they may use it."""

import hashlib
import hmac
import string
from pathlib import Path

from fedshelf.common.errors import ConfigError
from fedshelf.common.system.files import check_private

MIN_KEY_CHARACTERS = 16
_ALLOWED = frozenset(string.ascii_letters + string.digits + "-._~+/=")  # of a token, RFC 6750


class ApiKeys:
    """Some keys. They are compared as hashes and in constant time.

    Args:
        keys: none: everybody may use the service
    """

    def __init__(self, keys: list[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    @property
    def are_needed(self) -> bool:
        """True if a client needs a key."""
        return bool(self._digests)

    def accept(self, authorization: str) -> bool:
        """Return whether a request may be answered.

        Args:
            authorization: its header of that name, "Bearer KEY"
        """
        if not self._digests:
            return True
        scheme, _, key = authorization.partition(" ")
        digest = _digest(key.strip())
        # all of them, whichever fits
        known = [hmac.compare_digest(digest, other) for other in self._digests]
        return scheme.lower() == "bearer" and any(known)


def read_api_keys(path: Path) -> ApiKeys:
    """Return the keys in a file: one a line; empty lines and those that begin with # are none.

    Raises:
        ConfigError: others may read it, or a line can be no key.
    """
    try:
        check_private(path)
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        raise ConfigError(
            f"There is no {path}; write keys into it, one a line:"
            f" (umask 077; openssl rand -hex 32 > {path})."
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot read keys from {path} ({type(error).__name__}).") from None
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"{path} holds no key; expected one a line.")
    for number, key in enumerate(keys, start=1):
        if len(key) < MIN_KEY_CHARACTERS or not set(key) <= _ALLOWED:
            raise ConfigError(
                f"Key {number} in {path} has {len(key)} characters; expected"
                f" {MIN_KEY_CHARACTERS} or more letters and digits, as openssl rand -hex 32 makes."
            )
    return ApiKeys(keys)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
