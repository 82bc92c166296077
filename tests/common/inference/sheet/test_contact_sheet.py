"""A page that loads nothing, whatever the photos are called."""

from pathlib import Path

from PIL import Image

from fedshelf.common.inference.sheet.contact_sheet import SheetSection, photo_figure, write_sheet


def test_names_are_escaped_and_pictures_are_in_the_page(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a.png")
    name = "<script>alert(1)</script>\x1b"
    figures = [
        photo_figure(tmp_path / "a.png", name, "0.9"),
        photo_figure(tmp_path / "gone.png", "gone.png", "0.8"),
    ]
    write_sheet(tmp_path / "sheet.html", name, name, [SheetSection(name, figures)])
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "\x1b" not in page
    assert page.count('src="data:image/jpeg;base64,') == 1
    assert "no picture any more" in page
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page
