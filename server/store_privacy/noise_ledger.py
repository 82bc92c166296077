"""The secret behind the noise of a run, and the record of the noised sums that it has made.

Whoever knows the noise can take it out of a model. A run's seed is part of its settings, which
every store gets, so the noise of a deployment derives from a secret that the server keeps in the
run's directory. The noise of a sum derives from the secret and the sum itself: a round that is
repeated after a crash gives the same model, to the bit. If it has another sum this time, it gets
other noise, and counts once more: with the same noise, the difference of the two models would be a
store's bare update.

A simulation protects nobody: its noise derives from the seed, as all its randomness does, and not
from the sum, whose last bits depend on the engine.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from fedshelf.common.errors import RunError
from fedshelf.common.privacy.randomness import (
    SECRET_BYTES,
    KeyStream,
    simulated_secret,
    training_key,
)
from fedshelf.common.system.files import write_private

NOISE_FILE = "store-noise.json"  # in the run's directory


class NoiseLedger:
    """The source of a run's noise.

    Args:
        secret: 32 bytes
        path: the file that holds the secret and the sums so far; None: of a simulation
        sums: digests of the sums so far
    """

    def __init__(self, secret: bytes, path: Path | None = None, sums: Sequence[str] = ()) -> None:
        self._secret = secret
        self._path = path
        self._sums = list(sums)

    @classmethod
    def simulated(cls, seed: int) -> "NoiseLedger":
        """Return the ledger of a simulation.

        Args:
            seed: of the run
        """
        return cls(simulated_secret(seed, ""))

    @classmethod
    def open(cls, path: Path, rounds: int) -> "NoiseLedger":
        """Return the ledger in a file, or a new one for a run that has no round yet.

        Args:
            path: the file; a new ledger writes it with its first sum
            rounds: number of rounds that the run has done

        Raises:
            RunError: the file is damaged, or missing though the run has rounds.
        """
        if not path.exists() and not rounds:
            return cls(secrets.token_bytes(SECRET_BYTES), path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            secret, sums = bytes.fromhex(content["secret"]), content["sums"]
            if len(secret) != SECRET_BYTES or len(sums) < rounds:
                raise ValueError(f"{len(sums)} sums for {rounds} rounds")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} cannot be read ({error}): it holds the secret of the run's noise, and what"
                " stores have lost of their privacy so far; restore it, or start a new run."
            ) from error
        return cls(secret, path, sums)

    def draw_key(self, round_number: int) -> bytes:
        """Return the key of a round's draw of stores, 32 bytes; the same at each try."""
        return training_key(self._secret, _digest(round_number, "draw"))

    def release(self, round_number: int, total: Tensor) -> tuple[bytes, int]:
        """Record that a sum is going to be told, with noise.

        Args:
            round_number: of the round
            total: float64 [T] on the CPU, the sum of its clipped changes

        Returns:
            The key of the sum's noise, 32 bytes, and the number of sums told so far, with this one.

        Raises:
            OSError: the record cannot be written; then the sum must not be told.
        """
        if self._path is None:
            return training_key(self._secret, _digest(round_number, "sum")), round_number
        content = hashlib.sha256(total.numpy().tobytes()).hexdigest()
        digest = _digest(round_number, content)
        if digest not in self._sums:
            record = {"secret": self._secret.hex(), "sums": [*self._sums, digest]}
            write_private(self._path, json.dumps(record))
            self._sums.append(digest)
        return training_key(self._secret, digest), len(self._sums)


def noise_streams(key: bytes) -> tuple[KeyStream, KeyStream]:
    """Return the noise of a sum of changes, and of the count of small ones."""
    return KeyStream(key, "changes"), KeyStream(key, "count")


def _digest(round_number: int, content: str) -> str:
    return hashlib.sha256(f"store noise {round_number} {content}".encode()).hexdigest()
