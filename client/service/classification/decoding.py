"""A stranger's photo, decoded for a model, or the problem with it."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedshelf.client.service.requests.problems import ClientGoneError, ProblemError
from fedshelf.common.images.decoding.decode import (
    NotUsableError,
    PixelFormat,
    decode,
    decode_whole,
)
from fedshelf.common.images.decoding.formats import NO_IMAGE, missing_reader, possible_formats
from fedshelf.common.images.decoding.limits import SERVICE_LIMITS

Decoded = TypeVar("Decoded")

_TOO_LARGE = "too large"  # the decoder's words, before the size


def decode_wanted(
    data: bytes, form: PixelFormat, is_wanted: Callable[[], bool]
) -> NDArray[np.uint8]:
    """Return a stranger's photo as uint8 [S, S, C].

    Raises:
        ClientGoneError: the client has left meanwhile
        ProblemError: 400: empty; 413: too many pixels; 415: no photo; 422: a broken one
    """
    return _decoded(data, lambda: decode(data, form, SERVICE_LIMITS), is_wanted)


def decode_whole_wanted(data: bytes, is_wanted: Callable[[], bool]) -> Image.Image:
    """Return a stranger's photo in its own size, RGB; raises as `decode_wanted`."""
    return _decoded(data, lambda: decode_whole(data, SERVICE_LIMITS), is_wanted)


def _decoded(
    data: bytes, decoding: Callable[[], Decoded], is_wanted: Callable[[], bool]
) -> Decoded:
    if not is_wanted():
        raise ClientGoneError
    try:
        return decoding()
    except NotUsableError as reason:
        raise ProblemError(
            _status(str(reason), data), f"The photo cannot be used: {reason}."
        ) from None
    except MemoryError:
        raise ProblemError(413, "The photo cannot be used: it takes too much memory.") from None


def _status(reason: str, data: bytes) -> int:
    if not data:
        return 400
    if reason.startswith(_TOO_LARGE):
        return 413
    return 415 if reason == NO_IMAGE or missing_reader(possible_formats(data)) else 422
