"""Checks of the labels of scenes: whether there are boxes and masks, and which boxes are odd."""

from collections.abc import Iterator

from fedshelf.client.health.evidence.finding import Exhibit, Finding, Severity
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.common.tasks import scene_task_of_classes
from fedshelf.common.wording import format_count

_MANY_WITHOUT = 0.5  # share of photos without a product, from which it is reported


def boxes(evidence: Evidence) -> Iterator[Finding]:
    """Find labels that say of no photo, or of few, that there is a product on it."""
    labels = evidence.photos.scenes
    if labels is None or not labels.scenes:
        return
    if not labels.has_boxes:
        yield _without_boxes(evidence)
        return
    empty = [scene for scene in labels.scenes if not len(scene.boxes)]
    exhibits = tuple(Exhibit(scene.name, "no box", scene.path) for scene in empty)
    if len(empty) == len(labels.scenes):
        yield Finding(
            "photos",
            "problem",
            "The labels have no box on any photo, so there is nothing to find.",
            "Export the labels again from the tool in which the boxes were drawn.",
            exhibits,
        )
    elif len(empty) > _MANY_WITHOUT * len(labels.scenes):
        yield Finding(
            "photos",
            "warning",
            f"The labels say that {format_count(len(empty), 'photo')} of"
            f" {len(labels.scenes):,} have no product.",
            "If they have, draw the boxes, or delete the photo's label file: a photo that was not"
            " labelled is not used.",
            exhibits,
        )


def _without_boxes(evidence: Evidence) -> Finding:
    """Return a note on photos with masks alone, or a problem if the server asks for boxes."""
    is_refused = _task_of_chain(evidence) == "boxes"
    return Finding(
        "photos",
        "problem" if is_refused else "note",
        "The photos have masks and no boxes"
        + (", and the chain trains on boxes." if is_refused else "."),
        "Masks are enough for a run with train.objective=masks. For a run on boxes, export boxes,"
        " too (YOLO, COCO or Pascal VOC).",
    )


def _task_of_chain(evidence: Evidence) -> str | None:
    """Return the name of the task that the server trains for; None: it is not known."""
    classes = evidence.probe and evidence.probe.classes
    task = scene_task_of_classes(classes) if classes else None
    return None if task is None else task.name


def odd_boxes(evidence: Evidence) -> Iterator[Finding]:
    """Find boxes that were changed or left out, and say why."""
    labels = evidence.photos.scenes
    if labels is None or not labels.odd_boxes:
        return
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in labels.odd_boxes.items())
    yield Finding(
        "photos",
        "warning",
        f"{format_count(sum(labels.odd_boxes.values()), 'box is', 'boxes are')} odd: {reasons}.",
        "The others are used as they are. If these are many, the labels may belong to photos of"
        " another size, or to turned ones.",
    )


def masks(evidence: Evidence) -> Iterator[Finding]:
    """Find photos without a mask beside others that have one."""
    labels = evidence.photos.scenes
    if labels is None:
        return
    without = [scene for scene in labels.scenes if not scene.has_mask]
    has_any = any(scene.mask or (len(scene.outlines) and scene.has_mask) for scene in labels.scenes)
    if has_any and without:
        yield Finding(
            "photos",
            "warning",
            f"{format_count(len(without), 'photo')} of {len(labels.scenes):,} have no mask, so no"
            " mask is used.",
            "For a run on masks, draw the missing ones, or move these photos away. A run on boxes"
            " needs none.",
            tuple(Exhibit(scene.name, "no mask", scene.path) for scene in without),
        )


def unusable_masks(evidence: Evidence) -> Iterator[Finding]:
    """Find masks that training cannot use; one of them is enough for it to use none."""
    labels, unusable = evidence.photos.scenes, evidence.photos.masks.unusable
    if labels is None or not unusable:
        return
    reasons = dict(unusable)
    is_needed = not labels.has_boxes or _task_of_chain(evidence) == "masks"
    yield Finding(
        "photos",
        "problem" if is_needed else "warning",
        f"{format_count(len(unusable), 'mask')} of"
        f" {sum(scene.mask is not None for scene in labels.scenes):,} cannot be used, so no mask"
        " is used.",
        "Export these masks again, or move these photos away."
        + ("" if is_needed else " A run on boxes needs no masks."),
        tuple(
            Exhibit(scene.name, reasons[scene.name], scene.path)
            for scene in labels.scenes
            if scene.name in reasons
        ),
    )


def empty_masks(evidence: Evidence) -> Iterator[Finding]:
    """Find masks that show no product: of photos with boxes, or of many photos."""
    labels = evidence.photos.scenes
    if labels is None or not evidence.photos.masks.empty:
        return
    names = set(evidence.photos.masks.empty)
    empty = [scene for scene in labels.scenes if scene.name in names]
    boxed = [scene for scene in empty if len(scene.boxes)]
    if not labels.has_boxes and len(empty) == len(labels.scenes):
        severity: Severity = "problem"
        what = "The masks show no product on any photo, so there is nothing to learn."
    else:
        severity = "warning" if boxed or len(empty) > _MANY_WITHOUT * len(labels.scenes) else "note"
        count = format_count(len(empty), "mask shows", "masks show")
        what = f"{count} no product"
        what += (
            f", and {format_count(len(boxed), 'photo has', 'photos have')} boxes." if boxed else "."
        )
    yield Finding(
        "photos",
        severity,
        what,
        "All pixels of such a photo are learned as background. If there are products on it, draw"
        " its mask again, or move it away.",
        tuple(Exhibit(scene.name, "an empty mask", scene.path) for scene in boxed or empty),
    )
