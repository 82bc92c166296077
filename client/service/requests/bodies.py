"""Bodies of requests, bounded in size while they are read, and the photos in them.

`connection` bounds their time.
"""

import logging
from dataclasses import dataclass

from starlette.requests import Request

from fedshelf.client.service.requests.limits import ServiceLimits
from fedshelf.client.service.requests.problems import ClientGoneError, ProblemError, busy

# A photo may come under these types or none: `curl --data-binary` sends the second.
_RAW_TYPES = ("application/octet-stream", "application/x-www-form-urlencoded", "")
_MULTIPART = "multipart/form-data"
# Strangers' broken forms are their affair.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True)
class UploadedPhoto:
    """A photo's bytes, and the name that the client gave it, if any."""

    name: str | None
    data: bytes


class BodyReader:
    """Reads bodies, all of which together stay below a bound.

    Args:
        limits: of the service
    """

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._held_bytes = 0

    def body(self, request: Request) -> "HeldBody":
        """Return a context that gives the bytes of a body, which counts as held until it ends.

        Its beginning raises ProblemError (400, 413 or 429), and ClientGoneError if the client left
        while it sent, or sent too slowly.
        """
        return HeldBody(self, request)

    async def read(self, request: Request) -> bytes:
        """Read a body, which then counts as held. Raises ProblemError, ClientGoneError."""
        self._check_size(_declared_bytes(request))
        chunks: list[bytes] = []
        held = 0
        try:
            more = True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                chunk = message.get("body", b"")
                self._check_size(held + len(chunk))
                self._hold(len(chunk))
                held += len(chunk)
                chunks.append(chunk)
                more = message.get("more_body", False)
        except BaseException:
            self.release(held)
            raise
        return b"".join(chunks)

    def release(self, byte_count: int) -> None:
        """Let bytes no longer count as held."""
        self._held_bytes -= byte_count

    async def photos(self, request: Request, body: bytes) -> list[UploadedPhoto]:
        """Return the photos in a body: itself, or the files of a form.

        Raises:
            ProblemError: 400: none, or a broken form; 413: too many; 415: another type
        """
        content_type = request.headers.get("content-type", "")
        kind = media_type(content_type)
        if kind == _MULTIPART:
            photos = form_files(content_type, body, self._limits.max_photos_per_request)
        elif kind.startswith("image/") or kind in _RAW_TYPES:
            photos = [UploadedPhoto(None, body)] if body else []
        else:
            raise ProblemError(
                415,
                f"Got a body of type {kind[:100]!r}; expected a photo's bytes (image/jpeg, for"
                f" example) or {_MULTIPART} with photos.",
            )
        if not photos:
            raise ProblemError(400, "Got no photo; expected a photo's bytes, or a form with files.")
        return photos

    def _check_size(self, byte_count: int) -> None:
        if byte_count > self._limits.max_body_bytes:
            raise ProblemError(
                413, f"Got a body of more than {self._limits.max_body_bytes:,} bytes, the most."
            )

    def _hold(self, byte_count: int) -> None:
        if self._held_bytes + byte_count > self._limits.max_held_bytes:
            raise busy(429, "Too many photos are being sent at once; try again.", 1)
        self._held_bytes += byte_count


class HeldBody:
    """The body of a request while it counts as held; see `BodyReader.body`."""

    def __init__(self, reader: BodyReader, request: Request) -> None:
        self._reader = reader
        self._request = request
        self._byte_count = 0

    async def __aenter__(self) -> bytes:
        """Read the body."""
        body = await self._reader.read(self._request)
        self._byte_count = len(body)
        return body

    async def __aexit__(self, *_: object) -> None:
        """Let go of the body."""
        self._reader.release(self._byte_count)


def _declared_bytes(request: Request) -> int:
    """Return the length that a request declares; 0: none."""
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def media_type(content_type: str) -> str:
    """Return a content type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def form_files(content_type: str, body: bytes, most: int) -> list[UploadedPhoto]:
    """Return the files of a form; its other fields are passed over.

    Args:
        content_type: of the request, with the boundary
        body: of the request
        most: files

    Raises:
        ProblemError: 400: no such form; 413: more files than `most`
    """
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser, parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    form = _Form(most)
    try:
        if not 1 <= len(boundary) <= 70:  # RFC 2046
            raise MultipartParseError("no boundary")
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin_part,
                "on_header_field": form.add_header_name,
                "on_header_value": form.add_header_value,
                "on_header_end": form.end_header,
                "on_part_data": form.add_data,
                "on_part_end": form.end_part,
                "on_end": form.end,
            },
        )
        parser.write(body)
        parser.finalize()
    except MultipartParseError:
        form.is_complete = False
    if not form.is_complete:
        raise ProblemError(400, "The multipart form in the body is broken or cut.")
    return form.files


class _Form:
    """The parts of a form, as the parser finds them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.files: list[UploadedPhoto] = []
        self.is_complete = False

    def begin_part(self) -> None:
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._data: list[bytes] = []

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        if bytes(self._header_name).lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def add_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def end_part(self) -> None:
        from python_multipart.multipart import parse_options_header

        name = parse_options_header(self._disposition)[1].get(b"filename")
        if name is None:
            return
        if len(self.files) == self._most:
            raise ProblemError(413, f"Got more than {self._most} photos in one request, the most.")
        self.files.append(
            UploadedPhoto(name.decode("utf-8", "replace")[:200], b"".join(self._data))
        )

    def end(self) -> None:
        self.is_complete = True
