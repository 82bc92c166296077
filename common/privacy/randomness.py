"""Random numbers of private trainings, which nobody but the store can draw.

Whoever knows which images a step drew, and the noise, can take both out of an update. The seed of
a run is the server's, so nothing secret derives from it:

    secret of the store, digest of the training --HKDF--> key of the training --HKDF--> streams

The digest covers all that a training depends on. So a training that is repeated after a crash
draws the same numbers, and gives the same update. Another one draws others: were the noise of two
different trainings the same, the difference of their updates would be without noise.
"""

import hashlib
import json

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

SECRET_BYTES = 32
_UNIFORM_BITS = 53  # of a float64's fraction


def simulated_secret(seed: int, store: str) -> bytes:
    """Return the secret of a store of a simulation, in which nothing is secret.

    Args:
        seed: the run's seed
        store: name of the store
    """
    return hashlib.sha256(json.dumps(["simulated secret", seed, store]).encode()).digest()


def training_key(secret: bytes, digest: str) -> bytes:
    """Return the key of all random numbers of one training, 32 bytes.

    Args:
        secret: of the store, 32 bytes
        digest: SHA-256 of all that the training depends on, in hexadecimal
    """
    assert len(secret) == SECRET_BYTES, len(secret)
    return _derived(secret, f"training {digest}")


def key_digest(key: bytes) -> str:
    """Return the identity of a training: the SHA-256 of its key, in hexadecimal.

    Two trainings have the same one if they give the same update to the bit. It tells nothing of
    the key.
    """
    return hashlib.sha256(key).hexdigest()


def derived_seed(key: bytes) -> int:
    """Return a 63-bit seed for draws that change the images alone: augmentation and dropout."""
    return int.from_bytes(_derived(key, "images")[:8], "big") >> 1


class KeyStream:
    """Random numbers from AES-256 in counter mode.

    Args:
        key: of the training
        purpose: of the numbers; each has a stream of its own
    """

    def __init__(self, key: bytes, purpose: str) -> None:
        cipher = Cipher(algorithms.AES256(_derived(key, purpose)), modes.CTR(bytes(16)))
        self._encryptor = cipher.encryptor()

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return the next numbers, each of 64 random bits: uint64 [count], read-only."""
        return np.frombuffer(self._encryptor.update(bytes(8 * count)), dtype="<u8")

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return the next numbers, uniform in [0, 1): float64 [count]."""
        bits = self.words(count) >> np.uint64(64 - _UNIFORM_BITS)
        return bits.astype(np.float64) * 2.0**-_UNIFORM_BITS


def _derived(key: bytes, purpose: str) -> bytes:
    """Return 32 bytes that tell nothing of the key, nor of those for another purpose."""
    info = f"fedshelf differential privacy: {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)
