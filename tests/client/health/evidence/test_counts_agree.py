"""A store's photos are counted alike before it joins, by `check`, and for training."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from fedshelf.client.health.checks.files import readable
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.client.health.evidence.photos import list_photos, measure_photos
from fedshelf.client.health.folder_summary import summarize_folder
from fedshelf.client.policy.policy import Policy
from fedshelf.client.worker.data import FolderSource
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
from fedshelf.common.config import resolve
from fedshelf.common.images.decoding.content_digests import SETTLED_NS
from fedshelf.common.images.folder.photo_folder import open_folder
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import Plan, TrainOrder
from fedshelf.common.training.fit import Network
from tests.helpers import heic
from tests.helpers.deployed import wait_for
from tests.helpers.store_photos import MACHINE, encoded, folder, save, thing

CONFIG = resolve({"data.image_size": 16, "model.name": "niid-cnn", "train.batch_size": 8})


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))


def shop(root: Path) -> Path:
    """Twelve hats and ten boots that can be used, one boot as HEIC; and seven files that cannot."""
    folder(root, {"hat": 12, "boot": 9})
    (root / "boot" / "phone.HEIC").write_bytes(heic.PLAIN)
    (root / "hat" / "zero.jpg").touch()
    (root / "hat" / "half.jpg").write_bytes(encoded(thing(90, 300), "JPEG")[:2000])
    (root / "hat" / "half.png").write_bytes(encoded(thing(91, 300))[:600])
    (root / "boot" / "text.jpg").write_text("not a photo")
    (root / "boot" / "list.txt").write_text("a list")
    save(root / "boot" / "huge.png", Image.new("1", (10_000, 9_000)))
    save(root / "beside.png", thing(92))
    return root


def table(root: Path) -> Path:
    """The same by a CSV file in Windows-1252, with a column more, one photo twice and one that is
    not there.
    """
    shop(root)
    photos = sorted(path for path in root.glob("*/*") if path.is_file())
    named = [
        path.relative_to(root).as_posix()
        for path in (*photos, photos[0], root / "hat" / "gone.jpg")
    ]
    lines = ["image,label,brand", *(f"{name},{name.split('/')[0]},Fröhlich" for name in named)]
    path = root / "photos.csv"
    path.write_bytes("\n".join(lines).encode("cp1252"))
    return path


@pytest.mark.parametrize("kind", [shop, table])
def test_join_and_check_and_training_agree(tmp_path: Path, kind: Callable[[Path], Path]) -> None:
    data = kind(tmp_path / "shop")
    photos = measure_photos(data)
    assert photos.summary().startswith("22 photos of 2 classes (boot 10, hat 12). Not used: ")
    assert "2 truncated" in photos.summary()
    assert "1 too large: 10000 x 9000 pixels" in photos.summary()
    assert summarize_folder(data).startswith(photos.summary())
    opened = open_folder(data, image_size=16, channels=3)
    assert sum(map(len, opened.splits.values())) == 22
    assert sorted(photos.left_out + photos.strays) == sorted(opened.left_out)


def test_the_server_is_told_the_images_that_are_trained_on(tmp_path: Path) -> None:
    worker = StoreWorker(
        "oslo",
        FolderSource("oslo", shop(tmp_path / "shop"), Policy()),
        Trainer(torch.device("cpu"), StateStore(tmp_path / "s")),
    )
    told = worker.info(CONFIG)
    assert told.num_examples + told.validation + told.test == 22
    plan = Plan(
        "run", CONFIG, ModelSpec("niid-cnn", ("boot", "hat"), 16, 3, (0.5,) * 3, (0.25,) * 3)
    )
    params = Network(plan.spec, torch.device("cpu"), seed=1).vector.detach()
    assert worker.train(TrainOrder(plan, 1, params)).num_examples == told.num_examples


def test_a_file_known_to_be_broken_is_so_at_a_glance(tmp_path: Path) -> None:
    root = shop(tmp_path / "shop")
    # the two that are cut off and the huge one begin well
    assert len(list_photos(root).usable) == 25
    latest = max(path.lstat().st_ctime_ns for path in root.rglob("*"))
    # of files younger than that, nothing is remembered
    wait_for(lambda: time.time_ns() - latest > SETTLED_NS)
    open_folder(root, image_size=16, channels=3)
    assert list_photos(root).summary() == measure_photos(root).summary()


def test_check_tells_how_a_csv_file_was_read(tmp_path: Path) -> None:
    data = table(tmp_path / "shop")
    notes = [
        finding.what
        for finding in readable(Evidence(measure_photos(data), MACHINE))
        if finding.severity == "note"
    ]
    (note,) = [what for what in notes if "photos.csv" in what]
    assert "was read as Windows-1252" in note
    assert "columns not used: brand" in note
    assert note in summarize_folder(data)
