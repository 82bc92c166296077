"""The signed list of a release's files, in one envelope.

The envelope is DSSE's (Dead Simple Signing Envelope 1.0, github.com/secure-systems-lab/dsse), as
OpenSSF's model-signing uses it: the signature is over the bytes that are parsed, and over their
kind, so that it is good for nothing else. Only the one way to write it is accepted, so that any
changed byte is refused.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedshelf.common.errors import DataError
from fedshelf.common.release.keys import key_id, parse_public_key, public_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PAYLOAD_TYPE = "application/vnd.fedshelf.release.v1+json"
MAX_ENVELOPE_BYTES = 1_000_000


@dataclass(frozen=True)
class ListedFile:
    """A file of a release.

    Attributes:
        sha256: of its bytes, in hexadecimal
        size: bytes
    """

    sha256: str
    size: int


def sign(files: Mapping[str, ListedFile], key: "Ed25519PrivateKey") -> bytes:
    """Return the envelope of a release.

    Args:
        files: all files of the release but the envelope, by their names
        key: the chain's
    """
    listed = {name: {"sha256": file.sha256, "size": file.size} for name, file in files.items()}
    payload = _json({"files": listed})
    signature = key.sign(_signed_bytes(payload))
    return _json(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": key_id(public_text(key)), "sig": base64.b64encode(signature).decode()}
            ],
        }
    )


def open_envelope(content: bytes, keys: Sequence[str], source: str) -> dict[str, ListedFile]:
    """Return the files that an envelope lists, after its signature has been checked.

    Args:
        content: of the envelope's file
        keys: public keys that are trusted
        source: the words by which errors name the release

    Raises:
        DataError: it is damaged, or not signed with one of the keys.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    payload, signer, signature = _parts(content, source)
    trusted = {key_id(key): key for key in keys}
    if signer not in trusted:
        pinned = f"pinned here: {', '.join(trusted)}" if trusted else "none is pinned here"
        raise DataError(
            f"{source} is signed with the key {signer}, which this machine does not trust"
            f" ({pinned}); get the public key from who makes the releases, then: flower-client"
            " pin-release-key KEY."
        )
    public = Ed25519PublicKey.from_public_bytes(parse_public_key(trusted[signer], "The key"))
    try:
        public.verify(signature, _signed_bytes(payload))
    except InvalidSignature:
        raise _damaged(source) from None
    try:
        files = json.loads(payload)["files"]
        return {
            str(name): ListedFile(str(file["sha256"]), int(file["size"]))
            for name, file in files.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{source} was made by another version ({type(error).__name__}); update Fedshelf."
        ) from error


def _parts(content: bytes, source: str) -> tuple[bytes, str, bytes]:
    """Return payload, identity of the signer and signature. Raises DataError."""
    try:
        values = json.loads(content)
        is_exact = _json(values) == content and values["payloadType"] == PAYLOAD_TYPE
        encoded = values["payload"]
        (one,) = values["signatures"]
        signer, encoded_signature = one["keyid"], one["sig"]
        payload = base64.b64decode(encoded, validate=True)
        signature = base64.b64decode(encoded_signature, validate=True)
        is_exact &= base64.b64encode(payload).decode() == encoded
        is_exact &= base64.b64encode(signature).decode() == encoded_signature
        is_exact &= set(values) == {"payload", "payloadType", "signatures"}
        is_exact &= set(one) == {"keyid", "sig"} and isinstance(signer, str)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(source) from error
    if not is_exact or not signer.isalnum() or len(signer) > 64:
        raise _damaged(source)
    return payload, signer, signature


def _damaged(source: str) -> DataError:
    return DataError(
        f"{source} is not as it was signed: its list of files was changed or damaged; get the"
        " release once more."
    )


def _json(values: Any) -> bytes:
    """Return the one way in which values are written."""
    return json.dumps(values, sort_keys=True, indent=1, ensure_ascii=True).encode() + b"\n"


def _signed_bytes(payload: bytes) -> bytes:
    """Return DSSE's "pre-authentication encoding" of a payload and its kind."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
