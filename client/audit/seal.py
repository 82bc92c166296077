"""The store's signature on `audit.head`: a head for a changed log cannot be made without the
store's key.
"""

import base64
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from fedshelf.client.audit.files import LogHead

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


def seal(head: LogHead, key: "EllipticCurvePrivateKey | None") -> LogHead:
    """Return the head signed by the store's key; unchanged without a key."""
    if key is None:
        return replace(head, signer="", signature="")
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    signature = base64.b64encode(key.sign(_statement(head), ec.ECDSA(hashes.SHA256()))).decode()
    return replace(head, signer=public_text(key), signature=signature)


def is_genuine(head: LogHead) -> bool:
    """Return whether the signature of the head is valid."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        signer = load_ssh_public_key(head.signer.encode())
        if isinstance(signer, ec.EllipticCurvePublicKey):
            signer.verify(
                base64.b64decode(head.signature), _statement(head), ec.ECDSA(hashes.SHA256())
            )
            return True
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        pass
    return False


def public_text(key: "EllipticCurvePrivateKey") -> str:
    """Return the public key in OpenSSH format, as in the server's `stores.json`."""
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, form).decode()


def fingerprint(signer: str) -> str:
    """Return a public key's SHA-256 fingerprint as `ssh-keygen -l` writes it."""
    digest = hashlib.sha256(base64.b64decode(signer.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def _statement(head: LogHead) -> bytes:
    return f"fedshelf audit head: {head.first} {head.number} {head.rotations} {head.hash}".encode()
