"""A camera that speaks RTSP (RFC 2326) over TCP, with pictures in MPEG-4 a second apart."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image

from tests.helpers.videos import write_stream

_SDP = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 MP4V-ES/90000\r\na=control:0\r\n"
_ANSWERS = {
    "OPTIONS": "Public: DESCRIBE, SETUP, PLAY\r\n",
    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(_SDP)}\r\n",
    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
    "PLAY": "Session: 1\r\n",
}


@dataclass
class Show:
    """The pictures of one connection, which then ends; they are sent once `may_begin` is set."""

    pictures: Sequence[Image.Image]
    may_begin: threading.Event = field(default_factory=threading.Event)


@contextmanager
def rtsp_camera(shows: Sequence[Show]) -> Iterator[str]:
    """Serve one connection for each show; the address is its own. Then nobody answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        for show in shows:
            packets = _rtp_packets(show.pictures)
            connection, _ = listener.accept()
            with connection:
                if _answer(connection):
                    show.may_begin.wait()
                    for packet in packets:
                        connection.sendall(b"$\0" + len(packet).to_bytes(2) + packet)
        listener.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"rtsp://127.0.0.1:{port}/door"
    thread.join()


def _answer(connection: socket.socket) -> bool:
    """Answer requests up to PLAY; False: the other side went away."""
    with connection.makefile("rb") as requests:
        while first := requests.readline():
            headers = dict(
                line.decode().strip().split(": ", 1) for line in iter(requests.readline, b"\r\n")
            )
            method = first.decode().split()[0]
            body = _SDP if method == "DESCRIBE" else ""
            answer = f"RTSP/1.0 200 OK\r\nCSeq: {headers['CSeq']}\r\n{_ANSWERS[method]}\r\n{body}"
            connection.sendall(answer.encode())
            if method == "PLAY":
                return True
    return False


def _rtp_packets(pictures: Sequence[Image.Image]) -> list[bytes]:
    """Let FFmpeg pack pictures for RTP: it sends them to a socket of ours."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        port = receiver.getsockname()[1]
        write_stream(f"rtp://127.0.0.1:{port}", pictures, container="rtp")
        receiver.setblocking(False)  # on this machine's own network all is there
        packets = []
        while True:
            try:
                packets.append(receiver.recv(2000))
            except BlockingIOError:
                return packets
