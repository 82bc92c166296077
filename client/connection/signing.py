"""Signatures that prove a store's identity to Flower's Fleet API with every request."""

import logging
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from fedshelf.client.connection.errors import clock_error, format_clock_error
from fedshelf.common.protocol.enrolment import REASON_HEADER, RefusalReason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

# largest difference (s) of two clocks; the server accepts signatures from up to 5 s in its future
CLOCK_TOLERANCE_SECONDS = 2.0

LOG = logging.getLogger("fedshelf.store")


class Signer:
    """Signer of requests, as Flower's NodeAuthHttpInterceptor, but by the server's clock.

    A signature is valid for minutes around its time, and a store's clock may be wrong by years;
    each answer of the server carries the right time.
    """

    def __init__(self, private_key: "EllipticCurvePrivateKey") -> None:
        self._private_key = private_key
        self._public_key = b64encode(public_key_to_bytes(private_key.public_key())).decode("ascii")
        self._clock_error = timedelta(0)

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Send the request signed; once more if the server says that the clock is wrong, and sends
        another time.

        The time is read from no other answer: a large one, or one of a busy server, arrives long
        after it was dated.
        """
        response = self._send(context, call_next)
        if response.headers.get(REASON_HEADER) != RefusalReason.CLOCK:
            return response
        error = clock_error(response)
        if abs((error - self._clock_error).total_seconds()) < CLOCK_TOLERANCE_SECONDS:
            return response
        self._clock_error = error
        LOG.warning(
            "This machine's clock is %s; set it right. Fedshelf uses the server's.",
            format_clock_error(error),
        )
        return self._send(context, call_next)

    def _send(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        timestamp = (datetime.now(UTC) - self._clock_error).isoformat()
        signature = b64encode(sign_message(self._private_key, timestamp.encode("ascii"))).decode(
            "ascii"
        )
        context.request.headers[FLEET_HTTP_PUBLIC_KEY_HEADER] = self._public_key
        context.request.headers[TIMESTAMP_HEADER] = timestamp
        context.request.headers[FLEET_HTTP_SIGNATURE_HEADER] = signature
        return call_next(context)
