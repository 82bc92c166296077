"""Writing of an answer's bytes: few writes, none lost, none held back too long."""

import asyncio
from typing import cast

from fedshelf.client.service.requests.connection import AnswerWriter


class RecordingTransport:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.is_closed = True


def writer_and_transport() -> tuple[AnswerWriter, RecordingTransport]:
    transport = RecordingTransport()
    return AnswerWriter(cast(asyncio.Transport, transport)), transport


def test_a_head_goes_with_the_first_part_of_its_body() -> None:
    writer, transport = writer_and_transport()
    for part in (b"HTTP/1.1 200 OK\r\n\r\n", b"one", b"two"):
        writer.write(part)
    writer.end()
    assert transport.writes == [b"HTTP/1.1 200 OK\r\n\r\none", b"two"]


def test_a_head_without_a_body_goes_at_the_end() -> None:
    writer, transport = writer_and_transport()
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    writer.close()
    assert transport.writes == [b"HTTP/1.1 204 No Content\r\n\r\n"]
    assert transport.is_closed


def test_a_client_is_told_at_once_to_send_its_body() -> None:
    writer, transport = writer_and_transport()
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert transport.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    writer.write(b"body")
    assert transport.writes[1:] == [b"HTTP/1.1 200 OK\r\n\r\nbody"]
