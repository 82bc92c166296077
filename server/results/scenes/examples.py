"""The server's test photos of scenes that the report shows, in a file of the run directory.

They are the server's own photos, never those of a store: a store answers with sums alone.
"""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedshelf.common.images.types import Images
from fedshelf.common.metrics.formulas.count_error import USUAL_THRESHOLD
from fedshelf.common.protocol.messages import Plan
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.difficult import LEAST_OVERLAP
from fedshelf.common.system.device import pick_device
from fedshelf.common.system.files import write_json
from fedshelf.common.tasks import SceneTask, task_of
from fedshelf.common.training.evaluate import scene_answers
from fedshelf.common.training.fit import Network
from fedshelf.server.results.scenes import EXAMPLES_FILE
from fedshelf.server.results.scenes.judging import (
    JudgedPhoto,
    box_outcomes,
    choose,
    judge,
    pixel_outcomes,
)
from fedshelf.server.results.scenes.pictures import encoded_overlay, encoded_photos


class ScenePhotos:
    """The server's test photos of scenes, and a network to look at them with.

    Args:
        plan: of the run; its model is for scenes
        images: the photos
    """

    def __init__(self, plan: Plan, images: Images) -> None:
        self._plan = plan
        self._images = images

    def write_examples(self, params: Tensor, threshold: float | None, directory: Path) -> str:
        """Write the photos that teach most about a model, and the counts on all of them.

        Args:
            params: the model, float32 [P]
            threshold: the score from which a box counts; None: the usual one
            directory: of the run

        Returns:
            The file's name.

        Raises:
            OSError: it cannot be written.
        """
        least = USUAL_THRESHOLD if threshold is None else threshold
        network = Network(self._plan.spec, pick_device(self._plan.config.run.device))
        if self._plan.frozen is not None:
            network.load_frozen(self._plan.frozen)
        network.load(params)
        batch = self._plan.config.evaluation.batch_size
        images = self._images.to(network.device)
        classes = len(self._plan.spec.classes)
        photos = [
            judge(*answer, least, classes) for answer in scene_answers(network, images, batch)
        ]
        chosen = [(group, place) for group, places in choose(photos).items() for place in places]
        places = torch.tensor([place for _, place in chosen], dtype=torch.int64)
        few = images.select(places.to(images.rows.device))
        pixels = few.inputs.index_select(0, few.rows).cpu().numpy()
        answers = scene_answers(network, few, batch)
        examples = [
            {"group": group, "place": place, "photo": photo, "side": len(square)}
            # judged again: other photos in a batch may change the last digits of a score
            | asdict(judge(*answer, least, classes))
            | _drawn(*answer, least, classes)
            for (group, place), photo, square, answer in zip(
                chosen, encoded_photos(list(pixels)), pixels, answers, strict=True
            )
        ]
        content = {
            "task": network.task.name,
            "photos": len(photos),
            "threshold": least,
            "least_overlap": LEAST_OVERLAP,
            "counts": _counts(photos) if network.task.name == "boxes" else None,
            "examples": examples,
        }
        write_json(directory / EXAMPLES_FILE, content)
        return EXAMPLES_FILE


def scene_photos(plan: Plan, images: Images | None) -> ScenePhotos | None:
    """Return the server's photos to look at; None if there are none, or the model tells classes."""
    if images is None or not len(images) or not isinstance(task_of(plan.spec), SceneTask):
        return None
    return ScenePhotos(plan, images)


def _drawn(guess: Any, true: Any, threshold: float, classes: int) -> dict[str, Any]:
    """Return what is drawn on a photo: boxes in pixels of it, or an overlay."""
    if not isinstance(guess, Boxes):
        return {"overlay": encoded_overlay(pixel_outcomes(guess, true))}
    outcomes = box_outcomes(guess, true, threshold, classes)
    kinds = {"found": outcomes.found, "missed": outcomes.missed, "wrong": outcomes.wrong}
    return {
        "boxes": {
            kind: [[round(edge, 1) for edge in corners] for corners in boxes.corners.tolist()]
            for kind, boxes in kinds.items()
        }
    }


def _counts(photos: list[JudgedPhoto]) -> list[list[int]]:
    """Return rows of true number, counted number, and the photos of which these are so."""
    pairs = Counter((photo.right + photo.missed, photo.right + photo.wrong) for photo in photos)
    return [[*pair, times] for pair, times in sorted(pairs.items())]
