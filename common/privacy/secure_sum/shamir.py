"""Shamir's secret sharing of 32 bytes: any `threshold` shares give the secret, fewer tell nothing.

Shamir: How to Share a Secret. CACM 22 (11), 1979. The secret is the value at 0 of a polynomial of
degree threshold - 1 over the integers modulo PRIME, and the share of point x > 0 is its value at x.
"""

from collections.abc import Callable, Mapping, Sequence

PRIME = 2**256 + 297  # the smallest prime above 2^256, so that any 32 bytes are one element
SHARE_BYTES = 33
SECRET_BYTES = 32
# random bytes of a coefficient: 128 bits more than PRIME has, so the remainder is even to 2^-127
COEFFICIENT_BYTES = 48


def split(
    secret: bytes, threshold: int, points: Sequence[int], random_bytes: Callable[[int], bytes]
) -> dict[int, bytes]:
    """Return the share of each point, [33 bytes].

    Args:
        secret: 32 bytes
        threshold: number of shares that give the secret
        points: different numbers from 1 on
        random_bytes: returns as many random bytes as it is asked for; asked once
    """
    assert len(secret) == SECRET_BYTES
    assert 1 <= threshold <= len(set(points)) == len(points)
    assert min(points) >= 1
    drawn = random_bytes(COEFFICIENT_BYTES * (threshold - 1))
    coefficients = [int.from_bytes(secret, "big")] + [
        int.from_bytes(drawn[start : start + COEFFICIENT_BYTES], "big") % PRIME
        for start in range(0, len(drawn), COEFFICIENT_BYTES)
    ]
    shares = {}
    for point in points:
        value = 0
        for coefficient in reversed(coefficients):
            value = (value * point + coefficient) % PRIME
        shares[point] = value.to_bytes(SHARE_BYTES, "big")
    return shares


def join(shares: Mapping[int, bytes]) -> bytes | None:
    """Return the secret, 32 bytes, of `threshold` or more shares by their points.

    None if they are not the shares of 32 bytes: one of them is wrong. Too few, or wrong, shares
    mostly give some other 32 bytes, so the secret must be checked.
    """
    total = 0
    for point, share in shares.items():
        numerator = 1
        denominator = 1
        for other in shares:
            if other != point:
                numerator = numerator * -other % PRIME
                denominator = denominator * (point - other) % PRIME
        total += int.from_bytes(share, "big") * numerator * pow(denominator, -1, PRIME)
    value = total % PRIME
    return value.to_bytes(SECRET_BYTES, "big") if value < 2**256 else None
