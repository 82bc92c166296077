"""Fixed-point numbers as elements of a ring, so small that the sum of all stores cannot wrap round.

A number x in [-1, 1] becomes round(x S), with S = (2^(bits - 1) - 1) // stores steps. The sum of so
many stores lies within +-(2^(bits - 1) - 1), whatever honest stores send, and is read back exactly.
"""

from dataclasses import dataclass
from math import ceil, log2
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.privacy.secure_sum.ciphers import RingVector

_FINE_BITS = 32  # bits to which numbers are kept that several elements hold
_BLOCK = 2**16  # numbers that are rounded at once, in the processor's cache


@dataclass(frozen=True)
class Ring:
    """The ring of integers modulo 2^bits, for sums of at most `stores` vectors.

    >>> ring = Ring(stores=3, bits=16)
    >>> ring.steps
    10922
    >>> total = ring.encode(np.array([0.5, -1.0])) + ring.encode(np.array([0.25, -1.0]))
    >>> ring.decode(total)
    array([ 0.75004578, -2.        ])
    """

    stores: int
    bits: Literal[16, 32] = 32

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The type of an element."""
        return np.uint32 if self.bits == 32 else np.uint16

    @property
    def steps(self) -> int:
        """S, the number of steps between 0 and 1."""
        return ((1 << (self.bits - 1)) - 1) // self.stores

    @property
    def digits(self) -> int:
        """The number of elements that hold one number to 2^-32."""
        return ceil(_FINE_BITS / log2(self.steps))

    def encode(
        self, values: NDArray[np.floating], factor: float | NDArray[np.float64] = 1.0
    ) -> RingVector:
        """Return factor * values, rounded, as ring elements [Q]; beyond 1 they are cut off.

        Args:
            values: finite numbers [Q]
            factor: one number, or one for each value
        """
        signed = np.int32 if self.bits == 32 else np.int16
        codes = np.empty(len(values), signed)
        for start in range(0, len(values), _BLOCK):
            here = slice(start, start + _BLOCK)
            block = values[here].astype(np.float64)
            block *= factor if isinstance(factor, float) else factor[here]
            np.clip(block, -1.0, 1.0, out=block)
            block *= self.steps
            codes[here] = np.rint(block, out=block)
        return codes.view(self.dtype)

    def decode(self, total: RingVector) -> NDArray[np.float64]:
        """Return the sum of the numbers that the elements of `total` hold, [Q]."""
        signed = total.view(np.int32 if self.bits == 32 else np.int16)
        return signed.astype(np.float64) / self.steps

    def encode_fine(self, values: NDArray[np.float64]) -> RingVector:
        """Return numbers in [0, 1] to 2^-32, each as `digits` elements: [digits * Q]."""
        rest = np.clip(values, 0.0, 1.0)
        codes = np.empty((self.digits, len(values)), self.dtype)
        for place in range(self.digits):
            scaled = rest * self.steps
            whole = np.floor(scaled) if place < self.digits - 1 else np.rint(scaled)
            codes[place] = whole
            rest = scaled - whole
        return codes.ravel()

    def decode_fine(self, total: RingVector) -> NDArray[np.float64]:
        """Return the sums of the numbers that `encode_fine` has made elements of, [Q]."""
        sums = self.decode(total).reshape(self.digits, -1)
        weights = float(self.steps) ** -np.arange(self.digits)
        found: NDArray[np.float64] = weights @ sums
        return found
