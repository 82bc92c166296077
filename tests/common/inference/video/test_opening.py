"""Videos that name other files: none of them is opened."""

import contextlib
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.inference.video.frames import sampled_frames
from fedshelf.common.inference.video.opening import open_video
from fedshelf.common.inference.video.source import file_source, parse_source
from tests.helpers.opened_files import Openings, watched
from tests.helpers.videos import picture, write_video

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{canary}\n#EXT-X-ENDLIST\n"
FFCONCAT = "ffconcat version 1.0\nfile '{canary}'\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 26\n"
DASH = (
    '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    ' mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="video/mp2t">'
    '<Representation id="1" bandwidth="9"><BaseURL>{canary}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>"
)
SMIL = '<smil><body><video src="{canary}"/></body></smil>'
PLAYLISTS = {
    "hls": HLS,
    "ffconcat": FFCONCAT,
    "concat": "file '{canary}'\n",
    "sdp": SDP,
    "dash": DASH,
    "smil": SMIL,
    "pls": "[playlist]\nFile1={canary}\n",
    "asx": '<asx version="3.0"><entry><ref href="{canary}"/></entry></asx>',
    "asf": "[Reference]\nRef1={canary}\n",
}
NAMES = ["list.m3u8", "list.ffconcat", "list.sdp", "list.mpd", "clip.mp4", "clip.avi", "clip.ts"]


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A good video, which nobody has named."""
    return write_video(tmp_path / "canary.ts", [picture("red")] * 5, codec="mpeg2video")


@pytest.fixture
def openings(canary: Path) -> Iterator[Openings]:
    with watched(canary) as found:
        yield found


@pytest.mark.parametrize("name", ["list.m3u8", "clip.mp4", "canary.%d.ts"])
def test_the_canary_is_opened_where_nothing_forbids_it(
    name: str, tmp_path: Path, canary: Path, openings: Openings
) -> None:
    """So the tests below would notice."""
    path = tmp_path / name
    if name == "canary.%d.ts":
        canary.rename(tmp_path / "canary.1.ts")
    else:
        text = HLS if name == "list.m3u8" else FFCONCAT
        path.write_text(text.format(canary=canary.name))
    with contextlib.suppress(av.error.FFmpegError):
        kind = "image2" if "%" in name else None
        av.open(str(path), format=kind).close()
    assert openings.any()


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_are_refused_under_any_name(
    kind: str, tmp_path: Path, canary: Path, openings: Openings
) -> None:
    for name in NAMES:
        for start in ("", "\n", "\ufeff"):
            path = tmp_path / name
            path.write_text(start + PLAYLISTS[kind].format(canary=canary))
            with pytest.raises(DataError, match=r"is an? .*; expected a video in MP4"):
                open_video(parse_source(str(path)))
    assert not openings.any()


@pytest.mark.parametrize("name", ["list.m3u8", "list.ffconcat", "list.sdp", "list.mpd", "f%03d.ts"])
def test_the_name_of_a_playlist_is_refused_whatever_is_in_it(
    name: str, tmp_path: Path, canary: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(canary.read_bytes())
    with pytest.raises(DataError, match=r"is an? .*; expected"):
        open_video(parse_source(str(path)))


@pytest.mark.parametrize(
    "address",
    [
        "concat:{canary}|{canary}",
        "subfile,,start,0,end,99,,:{canary}",
        "file:{canary}",
        "cache:{canary}",
        "crypto:{canary}",
        "concatf:{canary}",
        "data:video/mp2t;base64,AAAA",
        "http://127.0.0.1:1/clip.mp4",
        "https://127.0.0.1:1/clip.mp4",
        "tcp://127.0.0.1:1",
        "pipe:0",
        "lavfi:color=red",
    ],
)
def test_addresses_of_ffmpeg_are_refused(address: str, canary: Path, openings: Openings) -> None:
    with pytest.raises(ConfigError, match="expected a video file"):
        parse_source(address.format(canary=canary))
    assert not openings.any()


def test_a_file_with_the_name_of_an_address_is_a_file(
    tmp_path: Path, openings: Openings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = write_video(tmp_path / "plain.ts", [picture("blue")], codec="mpeg2video").rename(
        "concat:canary.ts|canary.ts"
    )
    assert not openings.any()
    frames = list(sampled_frames(parse_source(str(odd)), 0))
    assert [frame.image.getpixel((60, 20))[2] > 200 for frame in frames] == [True]  # type: ignore[index]
    assert not openings.any()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def test_a_playlist_among_the_subtitles_of_an_avi_is_not_followed(
    tmp_path: Path, canary: Path, openings: Openings
) -> None:
    """The hole of 2017: a chunk GAB2 in an AVI was probed as a file of its own."""
    gab2 = b"GAB2\0" + struct.pack("<HIHHI", 2, 0, 0, 4, 0)
    playlist = HLS.format(canary=canary).encode()
    subtitles = gab2[:5] + b"\x02\0" + b"\0" * 4 + b"\x04\0"
    subtitles += struct.pack("<I", len(playlist)) + playlist
    header = struct.pack("<14I", 40000, 0, 0, 0x10, 5, 0, 2, 0, 64, 48, 0, 0, 0, 0)
    plain = write_video(tmp_path / "plain.avi", [picture("red")] * 5).read_bytes()
    first = plain.index(b"LIST", plain.index(b"strl") - 8)
    size = struct.unpack("<I", plain[first + 4 : first + 8])[0]
    video = plain[first : first + 8 + size]
    text = _chunk(
        b"LIST",
        b"strl"
        + _chunk(b"strh", b"txts" + struct.pack("<13I", 0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0))
        + _chunk(b"strf", b""),
    )
    frames = plain.index(b"movi") + 4
    movi = plain[frames : frames - 8 + struct.unpack("<I", plain[frames - 8 : frames - 4])[0] + 4]
    content = b"AVI " + _chunk(b"LIST", b"hdrl" + _chunk(b"avih", header) + video + text)
    content += _chunk(b"LIST", b"movi" + _chunk(b"01tx", subtitles) + movi)
    path = tmp_path / "clip.avi"
    path.write_bytes(_chunk(b"RIFF", content))
    frames_seen = 0
    with contextlib.suppress(DataError):  # its sizes are not all right
        for _ in sampled_frames(file_source(path), 0):
            frames_seen += 1
    assert frames_seen > 0
    assert not openings.any()


def _alias(canary: Path) -> bytes:
    """A data reference of QuickTime, an alias with the path that FFmpeg reads from it."""
    path = str(canary).encode()
    path += b"\0" * (len(path) % 2)
    fixed = b"\0" * (10 + 1 + 27 + 12) + b"\x01x".ljust(64, b"\0") + b"\0" * (16 + 4 + 16)
    return fixed + struct.pack(">HH", 2, len(path)) + path + b"\xff\xff\0\0"


@pytest.mark.parametrize("kind", [b"alis", b"url "])
def test_an_mp4_whose_data_lie_elsewhere_is_not_followed(
    kind: bytes, tmp_path: Path, canary: Path, openings: Openings
) -> None:
    plain = write_video(tmp_path / "plain.mp4", [picture("red")] * 5).read_bytes()
    here = b"\0\0\0\x0curl \0\0\0\1"
    assert plain.count(here) == 1
    target = _alias(canary) if kind == b"alis" else f"file://{canary}".encode() + b"\0"
    there = struct.pack(">I", 12 + len(target)) + kind + b"\0\0\0\0" + target
    path = tmp_path / "clip.mp4"
    path.write_bytes(_grown(plain.replace(here, there), len(target)))
    with contextlib.suppress(DataError):
        list(sampled_frames(file_source(path), 0))
    assert not openings.any()
    if kind == b"alis":  # FFmpeg knows how to follow it
        with contextlib.suppress(av.error.FFmpegError):
            av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}).close()
        assert openings.any()


def _grown(content: bytes, by: int) -> bytes:
    """Tell the boxes around `dref` that they hold so many bytes more."""
    changed = bytearray(content)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = changed.index(kind) - 4
        size = struct.unpack(">I", changed[at : at + 4])[0]
        changed[at : at + 4] = struct.pack(">I", size + by)
    return bytes(changed)


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    for content, reason in (
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n", "a photo, which flower-client classify takes"),
        (b"\0\0\0\x18ftypmp42" + b"\0" * 40, "broken from its start|no pictures"),
        (b"G" + b"\0" * 900, "no video"),
    ):
        path = tmp_path / "clip.mp4"
        path.write_bytes(content)
        with pytest.raises(DataError, match=reason):
            open_video(file_source(path))


def test_a_file_of_sound_alone_has_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(DataError, match="has no pictures"):
        open_video(file_source(path))


def test_without_pyav_one_sentence_says_what_to_install(
    canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"^Videos need PyAV: pip install 'fedshelf\[video\]'$"):
        open_video(file_source(canary))
