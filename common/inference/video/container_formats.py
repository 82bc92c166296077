"""The container of a video file, by its first bytes, and the refusal of everything else.

Only plain containers are read: their frames lie in the file itself. Playlists and the like name
other files and addresses, which FFmpeg would open (CVE-2016-1897 and its successors), so FFmpeg
never gets to guess: it is told the container that is found here.
"""

from pathlib import PurePath

from fedshelf.common.images.decoding.formats import rejection_reason
from fedshelf.common.text import sanitize

PLAIN_CONTAINERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf")
"""FFmpeg's names of the demuxers."""

HEAD_BYTES = 1024
"""Bytes of a file that `container_format` needs."""

_PLAYLIST_SUFFIXES = {
    ".m3u": "an M3U playlist",
    ".m3u8": "an HLS playlist",
    ".ffconcat": "a list of files (ffconcat)",
    ".concat": "a list of files (ffconcat)",
    ".sdp": "a description of a stream (SDP)",
    ".mpd": "a DASH manifest",
    ".ism": "a Smooth Streaming manifest",
    ".f4m": "an HDS manifest",
    ".pls": "a playlist",
    ".asx": "an ASX playlist",
    ".xspf": "an XSPF playlist",
    ".avs": "an AviSynth script",
    ".imf": "an IMF package",
}
_PLAYLIST_STARTS = (
    (b"#EXTM3U", "an HLS playlist"),
    (b"ffconcat", "a list of files (ffconcat)"),
    (b"file ", "a list of files (ffconcat)"),
    (b"v=0", "a description of a stream (SDP)"),
    (b"<", "an XML manifest"),
    (b"[playlist]", "a playlist"),
    (b"[Reference]", "a list of addresses (ASF)"),
    (b"rtsp", "a list of addresses"),
)

_MOV_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # ISO 14496-12
_EBML = b"\x1a\x45\xdf\xa3"  # RFC 8794
_MPEG_PACK = b"\0\0\1\xba"  # ISO 13818-1
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_TS_SYNC = 0x47  # at each packet's start, ISO 13818-1; with a time code of 4 bytes in M2TS
_TS_LAYOUTS = ((0, 188), (4, 192))


def is_pattern(name: str) -> bool:
    """Return whether FFmpeg would read a name as one of many pictures, as in `frame%03d.png`."""
    digits = name.partition("%")[2].lstrip("0123456789")
    return digits.startswith("d")


def rejected_name(name: str) -> str:
    """Return what a file of this name would be, if it is one that names others; else empty."""
    if is_pattern(PurePath(name).name):
        return "a pattern of file names"
    return _PLAYLIST_SUFFIXES.get(PurePath(name).suffix.lower(), "")


def container_format(head: bytes) -> str | None:
    """Return FFmpeg's name of the plain container that a file has; None: it has none.

    Args:
        head: the file's first `HEAD_BYTES`
    """
    if head[4:8] in _MOV_FIRST_BOXES:
        return "mov"
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return "avi"
    starts = {_EBML: "matroska", _MPEG_PACK: "mpeg", b"FLV\1": "flv", _ASF_HEADER: "asf"}
    for start, name in starts.items():
        if head.startswith(start):
            return name
    return "mpegts" if _is_transport_stream(head) else None


def rejected_content(head: bytes) -> str:
    """Return what a file without a plain container is, in a few words."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, kind in _PLAYLIST_STARTS:
        if text[: len(start)].lower() == start.lower():
            return kind
    if not head:
        return "an empty file"
    if not rejection_reason(head):
        return "a photo, which flower-client classify takes"
    return f"no video: it begins with {sanitize(head[:12].decode('latin-1'))!r}"


def _is_transport_stream(head: bytes) -> bool:
    """Return whether at least three packets begin where they must."""
    return any(
        len(head) > first + 2 * packet
        and all(byte == _TS_SYNC for byte in head[first : first + 3 * packet : packet])
        for first, packet in _TS_LAYOUTS
    )
