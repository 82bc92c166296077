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
        idle_seconds: until the first byte of a connection's first request has come
        head_seconds: from the first byte of a request until its headers have come
        body_seconds: from the headers to the end of a body, beyond what the rate below allows it
        min_bytes_per_second: least average rate of a body
        stall_seconds: that a body may stand still, however fast it came before
        answer_seconds: from the end of a body to its answer
    """

    max_body_bytes: int = 32 * 2**20
    max_held_bytes: int = 96 * 2**20
    max_photos_per_request: int = 32
    max_photos_held: int = 128
    max_batch: int = 8
    max_connections: int = 256
    idle_seconds: float = 10.0
    head_seconds: float = 0.8
    body_seconds: float = 0.8
    min_bytes_per_second: float = 4_000.0
    stall_seconds: float = 10.0
    answer_seconds: float = 30.0

    def body_deadline(self, began: float, byte_count: int, last_byte: float) -> float:
        """Return the time by which more of a body must come, on the clock of the arguments.

        Args:
            began: time (s) at which the headers had come
            byte_count: bytes of the body so far
            last_byte: time (s) at which the last of them came
        """
        at_least_rate = began + self.body_seconds + byte_count / self.min_bytes_per_second
        return min(at_least_rate, last_byte + self.stall_seconds)
