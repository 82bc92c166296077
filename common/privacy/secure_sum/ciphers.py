"""The primitives of the secure sum, all from `cryptography`: key agreement, sealing, masks.

Every key is derived with a label that says what it is for (HKDF-SHA256, RFC 5869), and is used for
one message alone. Only so may the nonces be zero: a label names the direction, the round and the
order, and the store's memory keeps a second message under the same label from being made.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

KEY_BYTES = 32
TAG_BYTES = 16
MASK_BLOCK_BYTES = 2**18  # masks are added in blocks that stay in the processor's cache
_NONCE = bytes(12)
_COUNTER = bytes(16)
_ZEROS = bytes(MASK_BLOCK_BYTES)

RingVector = NDArray[np.unsignedinteger[Any]]
"""Elements of the ring of integers modulo 2^32 (uint32 [Q]) or 2^16 (uint16 [Q])."""

Label = Sequence[str | int]


def derive(secret: bytes, label: Label) -> bytes:
    """Return a key of 32 bytes for the purpose that `label` names."""
    info = json.dumps(["fedshelf-sum-1", *label]).encode()
    return HKDF(hashes.SHA256(), KEY_BYTES, None, info).derive(secret)


def public_half(private_key: bytes) -> bytes:
    """Return the public half, 32 bytes, of an X25519 key of 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def agree(private_key: bytes, public_key: bytes, label: Label) -> bytes:
    """Return the key of 32 bytes that the owners of two X25519 keys share for a purpose.

    Raises:
        ValueError: the public key is one of the few that give all partners the same secret.
    """
    own = X25519PrivateKey.from_private_bytes(private_key)
    return derive(own.exchange(X25519PublicKey.from_public_bytes(public_key)), label)


def seal(key: bytes, text: bytes) -> bytes:
    """Return `text` encrypted and authenticated (AES-256-GCM), 16 bytes longer.

    The key must not seal another text, as the nonce is zero.
    """
    return AESGCM(key).encrypt(_NONCE, text, None)


def unseal(key: bytes, box: bytes) -> bytes | None:
    """Return the text of a box from `seal`; None if it was sealed with another key or changed."""
    try:
        return AESGCM(key).decrypt(_NONCE, box, None)
    except InvalidTag:
        return None


def stream(key: bytes, size: int) -> bytes:
    """Return the first `size` bytes of a key's stream (AES-256-CTR from zero)."""
    return _encryptor(key).update(bytes(size))


def commitment(secret: bytes) -> bytes:
    """Return 32 bytes that fix a random secret without telling it."""
    return hashlib.sha256(b"fedshelf-sum-1 commitment" + secret).digest()


def add_masks(vector: RingVector, masks: Iterable[tuple[bytes, bool]]) -> None:
    """Add masks to `vector` in place, or subtract them, in its ring.

    Args:
        vector: ring elements [Q], little-endian
        masks: (key, True to add the key's stream or False to subtract it), each key for this vector
            alone
    """
    encryptors = [(_encryptor(key), is_added) for key, is_added in masks]
    buffer = bytearray(MASK_BLOCK_BYTES + len(_COUNTER))
    block_size = MASK_BLOCK_BYTES // vector.itemsize
    for start in range(0, len(vector), block_size):
        block = vector[start : start + block_size]
        for encryptor, is_added in encryptors:
            encryptor.update_into(memoryview(_ZEROS)[: block.nbytes], buffer)
            mask = np.frombuffer(buffer, vector.dtype, count=len(block))
            (np.add if is_added else np.subtract)(block, mask, out=block)


def _encryptor(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES256(key), modes.CTR(_COUNTER)).encryptor()
