import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from fedshelf.client.health.evidence.label_errors import find_label_errors, load
from fedshelf.client.health.evidence.photos import measure_photos
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.folder.photo_folder import open_folder
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.training.fit import Network
from tests.helpers.deployed import draw_photos

SPEC = ModelSpec("niid-cnn", ("boot", "hat", "shirt"), 32, 3, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells three colours apart."""
    place = tmp_path_factory.mktemp("model")
    network = Network(SPEC, torch.device("cpu"))
    train = open_folder(
        draw_photos(place / "photos", SPEC.classes), image_size=32, channels=3
    ).splits["train"]
    pixels, labels = train.batch(torch.arange(len(train)))
    optimizer = torch.optim.Adam(network.module.parameters(), 0.003)
    for _ in range(25):
        optimizer.zero_grad()
        functional.cross_entropy(
            network.logits(normalise(pixels, SPEC.mean, SPEC.std)), labels
        ).backward()
        optimizer.step()
    save_file(
        network.module.state_dict(), place / "model.safetensors", metadata={"spec": SPEC.to_json()}
    )
    (place / "model.json").write_text(json.dumps(asdict(SPEC)))
    return place


def test_photos_in_the_wrong_folder_are_found(model: Path, tmp_path: Path) -> None:
    store = draw_photos(tmp_path / "store", SPEC.classes, seed=7)
    (store / "hat" / "3.png").rename(store / "boot" / "wrong.png")
    (store / "umbrella").mkdir()
    (store / "shirt" / "5.png").rename(store / "umbrella" / "5.png")
    told: list[tuple[int, int]] = []
    found = find_label_errors(
        load(model), measure_photos(store).usable, lambda done, total: told.append((done, total))
    )
    assert (found.judged, found.agreed, found.unknown) == (89, 88, ("umbrella",))
    assert [(doubt.seen.photo.name, doubt.probable_class) for doubt in found.doubts] == [
        ("boot/wrong.png", "hat")
    ]
    assert told[-1] == (89, 89)


def test_a_file_is_as_good_as_its_directory(model: Path) -> None:
    one = load(model)
    other = load(model / "model.safetensors")
    assert one.spec == other.spec == SPEC
    assert torch.equal(one.vector, other.vector)


def test_no_photo_at_all(model: Path) -> None:
    assert find_label_errors(load(model), ()).judged == 0


@pytest.mark.parametrize(
    "spec", ["", "{}", "[1]", SPEC.to_json().replace("niid-cnn", "no-such-net")]
)
def test_a_model_that_is_none_of_ours(tmp_path: Path, spec: str) -> None:
    tensors = {"weight": torch.zeros(3)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"spec": spec} if spec else None)
    with pytest.raises(ConfigError, match="cannot be used"):
        load(tmp_path)


def test_weights_of_another_network(tmp_path: Path) -> None:
    other = Network(replace(SPEC, classes=("boot", "hat")), torch.device("cpu"))
    save_file(
        other.module.state_dict(), tmp_path / "model.safetensors", metadata={"spec": SPEC.to_json()}
    )
    with pytest.raises(ConfigError, match="cannot be used"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="cannot be used"):
        load(tmp_path / "gone")
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ConfigError, match="cannot be used"):
        load(tmp_path)
