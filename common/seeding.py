"""Random numbers that depend on an address, not on the order in which they are drawn.

Every random choice of a run has an address, such as ("fit", round, store), and its generator is
derived from the run's seed and that address alone. So a resumed run, another engine or another
order of execution draws the same numbers.
"""

import hashlib
import json

import numpy as np


def derive(seed: int, *address: str | int) -> int:
    """Return a 63-bit seed for `address` under the run's `seed`.

    It is from BLAKE2b of both as JSON, which tells 1 from "1".
    """
    text = json.dumps([seed, *address])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def rng(seed: int, *address: str | int) -> np.random.Generator:
    """Return a NumPy generator (Philox) for `address`.

    For example `rng(seed, "fit", round_number, store)`; the same arguments draw the same numbers.
    """
    return np.random.Generator(np.random.Philox(derive(seed, *address)))
