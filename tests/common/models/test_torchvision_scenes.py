"""torchvision's networks for scenes under our roof: their results, heads, weights and settings."""

import hashlib
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from fedshelf.common import models
from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models import published_weights
from fedshelf.common.models.head import class_layers, set_training
from fedshelf.common.models.norms import has_moving_statistics
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.models.weights import read_weights
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.training.optimizers import lr_shares
from fedshelf.server.training.setup import settle

LRASPP = "lraspp_mobilenet_v3_large"
DEEPLAB = "deeplabv3_mobilenet_v3_large"
FASTER_RCNN = "fasterrcnn_mobilenet_v3_large_320_fpn"
SEGMENTERS = (LRASPP, DEEPLAB, pytest.param("fcn_resnet50", marks=pytest.mark.slow))


def specified(name: str, size: int = 40, channels: int = 3, **settings: object) -> ModelSpec:
    config = resolve({"model.name": name} | {f"model.{k}": v for k, v in settings.items()})
    classes = ("background", "product")
    return models.specify(
        config.model, classes, image_size=size, native_size=None, channels=channels
    )


def photos(size: int, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(3))


def theirs(name: str, **options: object) -> torch.nn.Module:
    """torchvision's network for its 21 classes, with random weights."""
    torch.manual_seed(5)
    return torchvision.models.get_model(name, weights=None, weights_backbone=None, **options).eval()


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_published_file_of_21_classes_fills_all_but_the_layers_of_classes(
    name: str, tmp_path: Path
) -> None:
    """With torchvision's auxiliary classifier beside them, as in the published files."""
    state = theirs(name, **({} if name == LRASPP else {"aux_loss": True})).state_dict()
    save_file(state, tmp_path / "published.safetensors")
    loaded = models.build(specified(name), weights=read_weights(tmp_path / "published.safetensors"))
    fresh = models.build(specified(name)).state_dict()
    heads = tuple(f"{layer}." for layer in class_layers(loaded))
    got = loaded.state_dict()
    for key in got:
        if key.startswith(heads):
            assert got[key].shape[0] == 2, key
            assert torch.equal(got[key], fresh[key]), key
        else:
            assert torch.equal(got[key], state[key]), key
    assert len([key for key in got if key.startswith(heads)]) == 2 * len(class_layers(loaded))


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("size", [32, 45])
def test_the_scores_are_torchvisions_for_photos_of_any_side(name: str, size: int) -> None:
    network = theirs(name, num_classes=2)
    ours = models.build(specified(name, size)).eval()
    ours.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert torch.equal(ours(photos(size)), network(photos(size))["out"])
        assert ours(photos(size)).shape == (2, 2, size, size)


def test_published_weights_of_a_faster_rcnn_have_older_names_and_fill_all_but_its_classes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The published file was written before torchvision put these convolutions into sequences, and
    with norms that count no batches; here it is made anew, and so its name has another hash.
    """
    state = {
        key: tensor
        for key, tensor in theirs(FASTER_RCNN, num_classes=91).state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    older = {
        key.replace("_blocks.0.0.", "_blocks.0.")
        .replace("_blocks.1.0.", "_blocks.1.")
        .replace("rpn.head.conv.0.0.", "rpn.head.conv."): tensor
        for key, tensor in state.items()
    }
    assert len(older.keys() - state.keys()) == 2 * 5
    torch.save(older, tmp_path / "made.pth")
    digest = hashlib.sha256((tmp_path / "made.pth").read_bytes()).hexdigest()
    weights = torchvision.models.get_model_weights(FASTER_RCNN).DEFAULT
    monkeypatch.setattr(weights.value, "url", f"https://127.0.0.1/coco-{digest[:8]}.pth")
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "made.pth").rename(tmp_path / "weights" / f"coco-{digest[:8]}.pth")
    found = published_weights.find(FASTER_RCNN, may_fetch=False)
    assert found.sha256 == digest
    spec = specified(FASTER_RCNN, 320, norm="frozen")
    fresh, got = (models.build(spec, weights=given).state_dict() for given in (None, found))
    heads = ("roi_heads.box_predictor.cls_score.", "roi_heads.box_predictor.bbox_pred.")
    for key, published in state.items():
        expected = fresh[key] if key.startswith(heads) else published
        assert torch.equal(got[key], expected), key
    assert got["roi_heads.box_predictor.bbox_pred.weight"].shape == (3 * 4, 1024)


def test_grey_photos_and_norms_are_as_for_classifiers() -> None:
    with torch.inference_mode():
        grey = models.build(specified(LRASPP, channels=1)).eval()
        assert grey(photos(40, channels=1)).shape == (2, 2, 40, 40)
        detector = models.build(specified(FASTER_RCNN, 320, channels=1)).eval()
        products = torch.tensor([[[10.0, 10, 90, 90, 0]]])
        assert detector(photos(320, channels=1)[:1], products).shape == (1, 301, 6)
    usual, group, frozen = (
        models.build(specified(LRASPP, norm=norm)) for norm in ("default", "group", "frozen")
    )
    assert any(map(has_moving_statistics, usual.modules()))
    assert not any(map(has_moving_statistics, group.modules()))
    set_training(frozen, mode=True)
    before = {key: tensor.clone() for key, tensor in frozen.state_dict().items()}
    frozen(photos(40))
    assert all(torch.equal(tensor, before[key]) for key, tensor in frozen.state_dict().items())


def test_both_layers_of_classes_learn_at_the_whole_rate() -> None:
    layout = Layout.from_module(models.build(specified(LRASPP)))
    shares = lr_shares(resolve({"train.backbone_lr": 0.1}).train, layout, torch.device("cpu"))
    assert shares is not None
    whole = {name for name in layout.names[:-1] if shares.numel() >= layout.slice_of(name).stop}
    fast = {name for name in whole if bool((shares[layout.slice_of(name)] == 1).all())}
    layers = ("classifier.low_classifier", "classifier.high_classifier")
    assert fast == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}


def test_its_published_weights_are_found_by_name_and_kept_statistics_are_usual(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A damaged file stands for the published one: the place is right, the hash is not."""
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights = torchvision.models.get_model_weights(LRASPP).DEFAULT
    content = b"no weights"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / weights.url.rpartition("/")[2]).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()[:8]
    with pytest.raises(DataError, match=rf"SHA-256 begins with {digest}, its name says d234d4ea"):
        published_weights.find(LRASPP, may_fetch=False)
    config = resolve({"model.name": LRASPP, "model.weights": "imagenet"} | MASKS)
    settled = settle(config, 160, 3)
    assert (settled.model.norm, settled.data.image_size) == ("frozen", 160)


MASKS = {"train.objective": "masks"}


def test_sizes_and_objectives_that_do_not_go_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"takes images of 32 px or more, but .* is 16"):
        specified(DEEPLAB, 16)
    assert specified(DEEPLAB, 0).image_size == 520
    with pytest.raises(
        ConfigError,
        match=r"tells masks; choose a model that tells boxes, .*, or set train.objective=masks\.",
    ):
        settle(resolve({"model.name": DEEPLAB, "train.objective": "boxes"}), 160, 3)
    with pytest.raises(ConfigError, match=r"tells masks, for example unet, .*, fcn_resnet50"):
        settle(resolve({"model.name": "cnn"} | MASKS), 160, 3)
