"""The photos that a person names."""

from pathlib import Path

import pytest

from fedshelf.common.errors import DataError
from fedshelf.common.inference.loading import load
from fedshelf.common.inference.predictors.photos import list_photos, predict_photos
from tests.helpers.deployed import draw_photos
from tests.helpers.saved_models import save_model


def test_files_folders_and_tables_are_listed_in_order(tmp_path: Path) -> None:
    folder = draw_photos(tmp_path / "shop", ["boot", "hat"], per_class=2)
    single = next((folder / "hat").iterdir())
    (folder / "list.txt").write_text("no photo")
    table = tmp_path / "list.csv"
    table.write_text(f"image,label\nshop/hat/{single.name},hat\n")
    left_out: list[tuple[str, str]] = []
    found = list(list_photos([folder, single, table], left_out))
    assert [photo.label(("boot", "hat")) for photo in found] == [
        "boot", "boot", "hat", "hat", None, "hat",
    ]  # fmt: skip
    assert [photo.name.split("/")[0] for photo in found][:4] == ["shop"] * 4
    assert left_out == [("shop/list.txt", "no photo, by its name")]
    with pytest.raises(DataError, match="There is no"):
        list(list_photos([tmp_path / "nowhere"], left_out))


def test_a_folder_is_called_by_its_name_however_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw_photos(tmp_path / "shop", ["hat"], per_class=1) / "hat"
    monkeypatch.chdir(folder)
    for given in (".", "../hat", str(folder)):
        [photo] = list_photos([Path(given)], [])
        assert photo.name.startswith("hat/")
        assert photo.label(("hat",)) == "hat"


def test_broken_files_are_named_and_the_others_predicted(tmp_path: Path) -> None:
    folder = draw_photos(tmp_path / "shop", ["boot", "hat"], per_class=20)
    (folder / "hat" / "0.jpg").write_bytes(b"\xff\xd8\xff broken")
    left_out: list[tuple[str, str]] = []
    done: list[int] = []
    predictor = load(save_model(tmp_path / "model"))
    batches = list(
        predict_photos(predictor, list_photos([folder], left_out), left_out, done.append)
    )
    assert sum(len(photos) for photos, _, _ in batches) == 40
    for photos, pixels, predictions in batches:
        assert len(photos) == len(pixels) == len(predictions)
    assert sum(done) == 41
    assert [name for name, _ in left_out] == ["shop/hat/0.jpg"]
