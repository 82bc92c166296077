"""SSDLite: torchvision's losses and boxes, for each photo alone; two photos are learned."""

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from fedshelf.common import models
from fedshelf.common.config import TrainConfig, resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.augment import normalise
from fedshelf.common.models.head import class_layers
from fedshelf.common.models.networks.ssdlite import detections
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.models.weights import LoadedWeights
from fedshelf.common.tasks import task_of
from fedshelf.common.tasks.anchored_boxes import AnchoredBoxes
from fedshelf.server.training.setup import settle

NAME = "ssdlite320_mobilenet_v3_large"
CLASSES = ("can", "box")


def specified(size: int = 0, norm: str = "group") -> ModelSpec:
    config = resolve({"model.name": NAME, "model.norm": norm}).model
    return models.specify(config, CLASSES, image_size=size, native_size=None, channels=3)


SPEC = specified()
TASK = AnchoredBoxes()
BOXES = torch.tensor(
    [
        [[20.0, 30, 120, 160, 0], [150, 60, 260, 260, 1], [0, 0, 0, 0, 0]],
        [[100.0, 100, 220, 200, 1], [5, 5, 9, 9, -2], [0, 0, 0, 0, 0]],
    ]
)


def photos() -> Tensor:
    """Two photos of grey noise with the boxes filled, red or blue by class."""
    pixels = np.random.default_rng(0).integers(90, 130, (2, 320, 320, 3), dtype=np.uint8)
    for photo, rows in zip(pixels, BOXES.int().tolist(), strict=True):
        for left, top, right, bottom, label in rows:
            if label >= 0:
                photo[top:bottom, left:right] = (230, 20, 20) if label == 0 else (20, 20, 230)
    return normalise(torch.from_numpy(pixels), SPEC.mean, SPEC.std)


def theirs(spec: ModelSpec) -> torch.nn.Module:
    """torchvision's own detector, which normalises and computes losses itself."""
    torch.manual_seed(0)
    return torchvision.models.get_model(
        spec.name, weights=None, weights_backbone=None, num_classes=1 + len(spec.classes)
    )


def test_the_network_and_size_decide() -> None:
    assert (SPEC.image_size, SPEC.mean) == (320, (0.5,) * 3)
    assert isinstance(task_of(SPEC), AnchoredBoxes)
    with pytest.raises(ConfigError, match="exactly 320 px"):
        models.specify(
            resolve({"model.name": NAME}).model,
            CLASSES,
            image_size=160,
            native_size=None,
            channels=3,
        )
    boxes = {"train.objective": "boxes"}
    assert settle(resolve({"model.name": NAME, **boxes}), None, 3).data.image_size == 320


@pytest.mark.slow
def test_loss_and_boxes_are_torchvisions_for_each_photo() -> None:
    """With its own weights for 91 classes, whose layers of classes are made anew."""
    spec = specified(norm="frozen")
    torch.manual_seed(0)
    published = torchvision.models.get_model(NAME, weights=None, weights_backbone=None)
    weights = LoadedWeights(published.state_dict(), "torchvision", "")
    ours = models.build(spec, weights=weights)
    heads = tuple(f"{layer}." for layer in class_layers(ours))
    assert len(heads) == 6
    own = ours.state_dict()
    assert all(
        torch.equal(own[key], tensor)
        for key, tensor in published.state_dict().items()
        if not key.startswith(heads)
    )
    reference = theirs(spec)
    reference.load_state_dict(own)
    inputs = photos()
    with torch.inference_mode():
        outputs = ours.eval()(inputs)
        losses = TASK.image_losses(outputs, BOXES, TrainConfig())
        reference.train()
        for layer in reference.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.eval()
        for photo, rows, loss in zip(inputs / 2 + 0.5, BOXES, losses, strict=True):
            known = rows[(rows[:, 2] > 0) & (rows[:, 4] >= 0)]
            target = {"boxes": known[:, :4], "labels": known[:, 4].long() + 1}
            expected = sum(reference([photo], [target]).values())
            assert loss == pytest.approx(float(expected), rel=1e-4)
        reference.eval()
        reference.score_thresh = 0.05
        told = reference([inputs[0] / 2 + 0.5])[0]
    corners, labels, scores = detections(outputs)[0]
    assert len(scores) == len(told["scores"]) > 0
    np.testing.assert_allclose(corners, told["boxes"], atol=0.05)
    assert labels.tolist() == (told["labels"] - 1).tolist()
    # untrained, it tells both classes at each place; one product is told there
    found = TASK.found(outputs)[0]
    assert 2 * len(found) == len(scores)
    assert len(np.unique(found.corners, axis=0)) == len(found)


def test_a_photo_without_products_costs_nothing_and_has_a_gradient() -> None:
    outputs = torch.zeros(1, 3234, 7, requires_grad=True)
    loss = TASK.image_losses(outputs, torch.zeros(1, 0, 5), TrainConfig()).sum()
    loss.backward()
    assert float(loss.detach()) == 0
    assert outputs.grad is not None
    assert not outputs.grad.any()


@pytest.mark.slow
def test_two_photos_are_learned_by_heart() -> None:
    network = models.build(SPEC, seed=3).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = TASK.image_losses(network(photos()), BOXES, TrainConfig()).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


def test_a_box_beside_the_photo_is_no_product() -> None:
    """An anchor that is moved out to the left is cut to a line at the photo's edge."""
    outputs = torch.zeros(1, 3234, 1 + len(CLASSES) + 4)
    outputs[..., 0] = 8
    outputs[0, :2, 1] = 16
    outputs[0, 0, -4] = -300
    [boxes] = TASK.found(outputs)
    assert len(boxes) == 1
    assert boxes.areas.min() > 0
