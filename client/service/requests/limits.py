"""Bounds on what clients of the service may ask for, so that no crowd can make it fall over."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceLimits:
    """Bounds of one service. Those of a photo's pixels are `SERVICE_LIMITS` of the decoder.

    Attributes:
        max_body_bytes: of one request
        max_held_bytes: of the bodies of all requests that are being answered together
        max_photos_per_request: photos
        max_photos_held: photos that are decoded, wait or are classified, of all requests
        max_batch: photos that pass through the model together
        max_connections: connections at a time
        head_seconds: until the headers of a request have come
        stall_seconds: that a body may stand still, and beyond which it must keep the rate below
        min_bytes_per_second: average rate of a body
        answer_seconds: from the end of a body to its answer
    """

    max_body_bytes: int = 32 * 2**20
    max_held_bytes: int = 96 * 2**20
    max_photos_per_request: int = 32
    max_photos_held: int = 128
    max_batch: int = 8
    max_connections: int = 256
    head_seconds: float = 10.0
    stall_seconds: float = 10.0
    min_bytes_per_second: float = 10_000.0
    answer_seconds: float = 30.0
