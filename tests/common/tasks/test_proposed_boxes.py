"""Faster R-CNN: torchvision's losses and boxes, and draws that have an address."""

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from fedshelf.common import models, strategies
from fedshelf.common.config import TrainConfig, resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.types import Images
from fedshelf.common.models.head import set_training
from fedshelf.common.models.networks.faster_rcnn import (
    EVALUATION_SEED,
    MAX_BOXES,
    PARTS,
    detections,
)
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.tasks import task_in, task_of
from fedshelf.common.tasks.proposed_boxes import ProposedBoxes
from fedshelf.common.training.evaluate import evaluate
from fedshelf.common.training.fit import LocalTrainingTask, Network, check_privacy, fit
from fedshelf.server.training.setup import prepare, settle
from tests.helpers.simulation_fixtures import one_thread

__all__ = ["one_thread"]

NAME = "fasterrcnn_mobilenet_v3_large_320_fpn"
LARGER = (
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
)
CLASSES = ("can", "box")
CPU = torch.device("cpu")
TASK = ProposedBoxes()
BOXES = torch.tensor(
    [
        [[20.0, 30, 120, 160, 0], [150, 60, 260, 260, 1], [0, 0, 0, 0, 0]],
        [[100.0, 100, 220, 200, 1], [5, 5, 90, 90, -2], [0, 0, 0, 0, 0]],
    ]
)


def specified(
    name: str = NAME, norm: str = "frozen", classes: tuple[str, ...] = CLASSES, size: int = 0
) -> ModelSpec:
    config = resolve({"model.name": name, "model.norm": norm}).model
    return models.specify(config, classes, image_size=size, native_size=None, channels=3)


def pixels() -> np.ndarray:
    """Two photos of grey noise with the boxes filled, red or blue by class."""
    drawn = np.random.default_rng(0).integers(90, 130, (2, 320, 320, 3), dtype=np.uint8)
    for photo, rows in zip(drawn, BOXES.int().tolist(), strict=True):
        for left, top, right, bottom, label in rows:
            if label >= 0:
                photo[top:bottom, left:right] = (230, 20, 20) if label == 0 else (20, 20, 230)
    return drawn


def scenes(count: int) -> Images:
    """The first photos with boxes of one class."""
    boxes = BOXES[:count] * torch.tensor([1.0, 1, 1, 1, 0])
    labels = torch.zeros(count, dtype=torch.int64)
    return Images(torch.from_numpy(pixels()[:count]), labels, torch.arange(count), boxes)


def photos() -> Tensor:
    spec = specified()
    return normalise(torch.from_numpy(pixels()), spec.mean, spec.std)


def targets(rows: Tensor) -> dict[str, Tensor]:
    """The products on a photo in torchvision's form, without the one that is hardly seen."""
    known = rows[(rows[:, 2] > 0) & (rows[:, 4] >= 0)]
    return {"boxes": known[:, :4], "labels": known[:, 4].long() + 1}


def theirs(name: str, ours: nn.Module, **options: object) -> nn.Module:
    """torchvision's own detector with the same weights; its photos are scaled already."""
    network = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=1 + len(CLASSES),
        box_detections_per_img=MAX_BOXES, image_mean=[0.0] * 3, image_std=[1.0] * 3,
        min_size=320, max_size=320, _skip_resize=True, **options,
    )  # fmt: skip
    network.load_state_dict(ours.state_dict())
    return network


def in_training(network: nn.Module) -> nn.Module:
    """A network in training mode whose batch norms keep their statistics."""
    network.train()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    return network


def parts_of(losses: dict[str, Tensor]) -> list[float]:
    return [float(losses[part].detach()) for part in PARTS]


@pytest.mark.parametrize(
    "name", [NAME, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGER)]
)
def test_losses_and_boxes_are_torchvisions_on_the_same_draws(name: str) -> None:
    spec = specified(name, size=320)
    ours = models.build(spec, seed=0)
    reference = theirs(name, ours)
    for photo, rows in zip(photos(), BOXES, strict=True):
        given = photo[None], rows[None]
        torch.manual_seed(7)
        expected = parts_of(in_training(reference)([photo], [targets(rows)]))
        torch.manual_seed(7)
        told = ours.train()(*given)
        assert told.shape == (1, 1, 4 + len(CLASSES))
        assert told[0, 0, :4].tolist() == pytest.approx(expected, rel=1e-5)
        loss = TASK.image_losses(told, rows[None], TrainConfig())
        assert loss.tolist() == pytest.approx([sum(expected)], rel=1e-5)
        # in evaluation both the loss, of its own draws, and the boxes
        torch.manual_seed(EVALUATION_SEED)
        expected = parts_of(in_training(reference)([photo], [targets(rows)]))
        with torch.inference_mode():
            told = ours.eval()(*given)
            boxes = reference.eval()([photo])[0]
        assert told[0, 0, :4].tolist() == pytest.approx(expected, rel=1e-5)
        corners, labels, scores = detections(told)[0]
        assert len(scores) > 20
        torch.testing.assert_close(corners, boxes["boxes"], rtol=0, atol=1e-3)
        torch.testing.assert_close(scores, boxes["scores"], rtol=1e-5, atol=0)
        assert torch.equal(labels, boxes["labels"] - 1)
        found = TASK.found(told)[0]
        assert 0 < len(found) <= len(scores)  # of two classes at one place the surer one
        assert set(found.classes.tolist()) <= {0, 1}
    assert TASK.classes_told(told) == 2


def test_an_evaluation_draws_the_same_in_all_batches_and_leaves_the_generator_alone() -> None:
    """By a network whose norms could be compiled: it is never copied, as it looks at its mode."""
    network = Network(specified(norm="group", classes=("product",)), CPU, seed=1)
    images = scenes(2)
    set_training(network.module, mode=True)
    with torch.no_grad():
        assert network.logits(photos()[:1], images.learned[:1]).shape == (1, 1, 5)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    both, one_by_one = (evaluate(network, [images], size)[0] for size in (2, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(part.training for part in network.module.modules())
    assert both.loss_sum == pytest.approx(one_by_one.loss_sum, rel=1e-6)
    assert both.num_examples == 2
    for name, sums in both.metrics.items():
        np.testing.assert_array_equal(sums, one_by_one.metrics[name])
    with torch.inference_mode():
        alone = network.logits(photos())
    assert alone.shape == (2, 1 + MAX_BOXES, 5)
    assert not alone[:, 0].any()  # no targets, no loss


def test_a_photo_without_products_or_proposals_has_a_loss_and_a_gradient() -> None:
    network = models.build(specified(), seed=0)
    empty = torch.zeros(1, 2, 5)
    for score, proposes in ((0.05, True), (1.1, False)):
        network.rpn.score_thresh = score
        told = network.train()(photos()[:1], empty)
        losses = dict(zip(PARTS, told[0, 0, :4].tolist(), strict=True))
        assert losses["loss_objectness"] == pytest.approx(np.log(2), rel=0.1)
        assert losses["loss_rpn_box_reg"] == losses["loss_box_reg"] == 0
        assert (losses["loss_classifier"] > 0.1) == proposes
        told.sum().backward()
        assert all(
            bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None
        )
        with torch.inference_mode():
            found = TASK.found(network.eval()(photos()[:1]))[0]
        assert (len(found) > 0) == proposes


def test_training_draws_by_seed_round_and_store() -> None:
    """Whatever was drawn before; one photo, one step, so that draws alone can differ."""
    network = Network(specified(norm="group", classes=("product",)), CPU, seed=1)
    images = scenes(1)
    config = resolve({
        "model.name": NAME, "train.objective": "boxes", "train.epochs": 1, "train.lr": 0.01,
        "train.batch_size": 1, "data.flip": False, "data.crop": 0,
    })  # fmt: skip
    start = network.vector.clone()

    def loss(store: str, number: int) -> float:
        torch.manual_seed(number)
        strategy = strategies.build(config.strategy)
        return fit(network, images, LocalTrainingTask(config, strategy, store, 1, start)).loss

    of_oslo = loss("oslo", 0)
    assert of_oslo == loss("oslo", 1)
    assert of_oslo != loss("bergen", 0)


def test_mixed_precision_rounds_no_corners() -> None:
    network = models.build(specified(), seed=0).eval()
    with torch.inference_mode():
        exact = network(photos()[:1], BOXES[:1])
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(photos()[:1], BOXES[:1])
    assert mixed.dtype == torch.float32
    assert mixed[0, 0].sum().item() == pytest.approx(exact[0, 0].sum().item(), rel=0.05)
    corners, _, _ = detections(mixed)[0]
    inside = corners[(corners > 1) & (corners < 319)]
    assert (inside.bfloat16().float() != inside).float().mean() > 0.9


def test_names_sizes_and_refusals() -> None:
    assert (specified().image_size, specified().mean) == (320, (0.485, 0.456, 0.406))
    assert [specified(name).image_size for name in LARGER] == [800] * 3
    assert {task_of(specified(name)) for name in LARGER} == {task_of(specified())}
    boxes = {"model.name": NAME, "train.objective": "boxes"}
    assert isinstance(task_in(resolve(boxes)), ProposedBoxes)
    assert settle(resolve(boxes), 160, 3).data.image_size == 320
    with pytest.raises(ConfigError, match="exactly 320 px"):
        specified(size=160)
    with pytest.raises(ConfigError, match=r"takes images of 320 px or more, but .* is 160"):
        specified(LARGER[0], size=160)
    clipped = {"privacy.clip": 1.0, "privacy.noise": 1.0, "privacy.rate": 0.5, "privacy.steps": 1}
    private = resolve(boxes | clipped | {"model.norm": "group"})
    with pytest.raises(ConfigError, match=rf"boxes, which with model {NAME} does not go with priv"):
        prepare(settle(private, None, 3), ("product",), 3)
    network = Network(specified(norm="group"), CPU)
    with pytest.raises(ConfigError, match=r"of which no photo's own gradient is known"):
        check_privacy(network, private)


@pytest.mark.slow
def test_two_photos_are_learned_by_heart() -> None:
    network = models.build(specified(norm="group"), seed=3).train()
    optimizer = torch.optim.Adam(network.parameters(), 3e-4)
    torch.manual_seed(0)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = TASK.image_losses(network(photos(), BOXES), BOXES, TrainConfig()).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
