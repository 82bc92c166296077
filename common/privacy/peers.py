"""The identity of a store towards other stores, which the chain's office certifies.

In a secure sum the stores exchange keys through the server. A server that could sign stores' keys
could invent stores and open the sum. So the office key signs them, and it is not on the server:

    office key (DIR/office) -- signs --> PeerCertificate (chain, store, peer key), in the kit
                            -- signs --> RevocationList (peer keys that are not valid any more)
"""

import json
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from fedshelf.common.errors import ConfigError
from fedshelf.common.names import check_store_name
from fedshelf.common.statements import statement

MAX_REVOKED = 10_000

Key = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""An Ed25519 key, private or public: 32 bytes in hexadecimal."""

Signature = Annotated[str, Field(pattern="^[0-9a-f]{128}$")]
"""An Ed25519 signature: 64 bytes in hexadecimal."""


class PeerCertificate(BaseModel):
    """The office's word that a peer key is that of a store of its chain.

    chain: `common.protocol.kit.chain_id` of the chain's authority
    key: the store's public peer key
    signature: the office's, over `statement`
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain: Annotated[str, Field(max_length=64)]
    store: Annotated[str, AfterValidator(check_store_name)]
    key: Key
    signature: Signature

    @property
    def statement(self) -> bytes:
        """The bytes that the office signs."""
        return peer_statement(self.chain, self.store, self.key)

    def is_signed_by(self, office: str) -> bool:
        """Tell if the office with this public key has signed the certificate."""
        return is_signed(office, self.signature, self.statement)


class RevocationList(BaseModel):
    """The peer keys of a chain that are not valid any more, signed by its office.

    number: grows with each list, so that an older list is recognised
    keys: the revoked public peer keys, sorted
    signature: the office's, over `statement`
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain: Annotated[str, Field(max_length=64)]
    number: Annotated[int, Field(ge=1)]
    keys: Annotated[tuple[Key, ...], Field(max_length=MAX_REVOKED)]
    signature: Signature

    @property
    def statement(self) -> bytes:
        """The bytes that the office signs."""
        return revocation_statement(self.chain, self.number, self.keys)

    def is_signed_by(self, office: str) -> bool:
        """Tell if the office with this public key has signed the list."""
        return is_signed(office, self.signature, self.statement)


class PeerIdentity(BaseModel):
    """All that a store needs to prove itself to other stores and to recognise them.

    It is in the store's kit, and then in the store's home.

    office: public key of the chain's office
    private_key: the store's private peer key
    certificate: the office's, of the public half
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedshelf-peer-1"] = "fedshelf-peer-1"
    office: Key
    private_key: Key
    certificate: PeerCertificate

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if public_half(self.private_key) != self.certificate.key:
            raise ValueError("its peer key is not the one that its certificate names")
        if not self.certificate.is_signed_by(self.office):
            raise ValueError("its peer certificate is not signed by its office")
        return self

    def sign(self, content: bytes) -> str:
        """Return the store's signature over bytes, in hexadecimal."""
        return sign(self.private_key, content)


class PeerVerifier:
    """The rule by which stores of a chain are recognised, a `secure_sum.identities.SumVerifier`.

    Args:
        chain: identifier of the chain
        office: public key of its office
        revoked: the public peer keys that the office has revoked
    """

    def __init__(self, chain: str, office: str, revoked: frozenset[str]) -> None:
        self.chain = chain
        self._office = office
        self._revoked = revoked

    def __call__(self, store: str, certificate: bytes, statement: bytes, signature: bytes) -> bool:
        """Return whether the office certifies the key of this store, and that key has signed."""
        try:
            peer = PeerCertificate.model_validate_json(certificate)
        except (ValidationError, ConfigError):  # the second for a name that no store may have
            return False
        return (
            peer.store == store
            and peer.chain == self.chain
            and peer.key not in self._revoked
            and peer.is_signed_by(self._office)
            and is_signed(peer.key, signature.hex(), statement)
        )


def peer_statement(chain: str, store: str, key: str) -> bytes:
    """Return the bytes that the office signs to certify a store's public peer key."""
    return statement(b"fedshelf-peer-1", chain, store, key)


def revocation_statement(chain: str, number: int, keys: tuple[str, ...]) -> bytes:
    """Return the bytes that the office signs to revoke public peer keys."""
    return statement(b"fedshelf-revoked-peers-1", chain, str(number), json.dumps(keys))


def new_private_key() -> str:
    """Return a new private Ed25519 key in hexadecimal."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes_raw().hex()


def public_half(private_key: str) -> str:
    """Return the public half of a private key, both in hexadecimal."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_key))
    return key.public_key().public_bytes_raw().hex()


def sign(private_key: str, content: bytes) -> str:
    """Return the Ed25519 signature over bytes, in hexadecimal."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_key)).sign(content).hex()


def is_signed(public_key: str, signature: str, content: bytes) -> bool:
    """Tell if a signature over bytes is that of a key, all in hexadecimal."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True
