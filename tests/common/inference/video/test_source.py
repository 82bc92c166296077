"""The video or camera that a person names."""

from pathlib import Path

import pytest

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.inference.video.source import is_video, parse_source


def test_files_devices_and_addresses(tmp_path: Path) -> None:
    path = tmp_path / "clip.MP4"
    path.write_bytes(b"")
    file = parse_source(str(path))
    assert (file.kind, file.location, file.name) == ("file", str(path), "clip.MP4")
    assert not file.is_camera
    device = parse_source("/dev/null")
    assert (device.kind, device.location, device.is_camera) == ("device", "/dev/null", True)
    camera = parse_source("rtsp://10.0.0.7:8554/door")
    assert (camera.kind, camera.is_camera) == ("address", True)


def test_a_password_is_in_no_name() -> None:
    camera = parse_source("rtsp://admin:secret@camera.shop:8554/door?token=hidden")
    assert camera.location == "rtsp://admin:secret@camera.shop:8554/door?token=hidden"
    assert camera.name == "rtsp://camera.shop:8554/door"
    assert parse_source("rtsps://u:p@[::1]:9/x").name == "rtsps://[::1]:9/x"


@pytest.mark.parametrize("text", ["rtsp://", "rtsp://:554/x", "rtsp://host:port/", "rtsp://a b/"])
def test_addresses_without_a_host_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="valid host"):
        parse_source(text)


def test_nothing_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no"):
        parse_source(str(tmp_path / "clip.mp4"))
    with pytest.raises(DataError, match="is a folder"):
        parse_source(str(tmp_path))


def test_videos_are_known_by_their_suffix() -> None:
    assert is_video("shop/Clip.MP4")
    assert not is_video("photo.jpg")
    assert not is_video("list.m3u8")
