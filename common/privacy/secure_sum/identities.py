"""A store's own key towards other stores, and the rule by which it recognises them."""

from typing import Protocol


class SumSigner(Protocol):
    """A store's own signing key, which the chain's office has certified.

    Attributes:
        store: the store's name
        certificate: the office's certificate of the key, as bytes for `SumVerifier`
    """

    store: str
    certificate: bytes

    def sign(self, statement: bytes) -> bytes:
        """Return the Ed25519 signature, 64 bytes."""


class SumVerifier(Protocol):
    """The rule by which a store recognises other stores of its chain."""

    def __call__(self, store: str, certificate: bytes, statement: bytes, signature: bytes) -> bool:
        """Return whether the chain's office has certified a key for the store of this name, has not
        revoked it, and that key has signed the statement.

        Any bytes may come; it must not raise.
        """
