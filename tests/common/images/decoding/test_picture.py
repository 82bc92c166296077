import io
from pathlib import Path

from PIL import Image

from fedshelf.common.images.decoding.picture import thumbnail, upright_size
from tests.helpers.store_photos import save, thing


def test_a_photo_that_lies_on_its_side_is_shown_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert upright_size((tmp_path / "a.jpg").read_bytes()) == (30, 90)
    with Image.open(io.BytesIO(thumbnail(tmp_path / "a.jpg", 60))) as small:
        assert small.size == (20, 60)


def test_a_thumbnail_is_small(tmp_path: Path) -> None:
    path = save(tmp_path / "large.png", thing(3, 2000))
    assert len(thumbnail(path, 160)) < 12_000


def test_rubbish_has_no_size() -> None:
    assert upright_size(b"rubbish") is None
