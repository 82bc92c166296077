"""Checks of the classes: their sizes and their names."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import combinations
from pathlib import PurePosixPath

from fedshelf.client.health.evidence.finding import Exhibit, Finding
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.common.classes.spelling import class_indices, normalize_name
from fedshelf.common.tasks import scene_task_of_classes
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count, format_first

_MAX_NAMED_CLASSES = 10  # classes that a sentence names before it only counts them
_FEW_PHOTOS = 10  # photos: with eight of ten to train on, such a class is hardly learnt
_UNEVEN_RATIO = 10.0  # largest class over smallest, from which it is reported
_DOMINANT_SHARE = 0.8  # share of one class, from which always guessing it looks like a good model
# largest share, of the meant folder's photos, in a folder that a typing error made
_TYPING_ERROR_SHARE = 0.05
_MIN_AGREEMENT = 0.85  # share of labels that a model must agree with before its doubts are reported


def sizes(evidence: Evidence) -> Iterator[Finding]:
    """Find classes with few photos or none, and a store with one class."""
    counts = evidence.photos.per_class()
    if not counts:
        return
    if len(counts) == 1:
        only = printable(next(iter(counts)))
        yield Finding(
            "photos",
            "warning",
            f'All photos are of one class, "{only}".',
            "If that is all the store sells, it is fine. Otherwise --data must name the folder"
            " above the classes.",
        )
    if few := [
        f"{printable(label)} ({count})" for label, count in counts.items() if count < _FEW_PHOTOS
    ]:
        yield Finding(
            "photos",
            "warning",
            f"{format_count(len(few), 'class has', 'classes have')} fewer than {_FEW_PHOTOS}"
            f" photos: {format_first(few, _MAX_NAMED_CLASSES)}.",
            "Add photos of them, 50 or more if possible; until then the model learns them from"
            " other stores.",
        )
    if empty := [printable(label) for label in evidence.photos.empty]:
        yield Finding(
            "photos",
            "note",
            f"{format_count(len(empty), 'class folder holds', 'class folders hold')} no usable"
            f" photo: {format_first(empty, _MAX_NAMED_CLASSES)}.",
            "Fill or remove them; nothing is trained on them.",
        )


def deep(evidence: Evidence) -> Iterator[Finding]:
    """Find folders that may be stores or splits, not classes: all photos lie in sub-folders with
    the same names.
    """
    folders: dict[str, set[str]] = {}
    for seen in evidence.photos.usable:
        above = PurePosixPath(seen.photo.name).parts[1 if seen.photo.split else 0 : -1]
        if evidence.photos.is_table or len(above) < 2:
            return
        folders.setdefault(above[0], set()).add(above[1])
    shared = [
        name
        for name in sorted(set[str]().union(*folders.values()))
        if sum(name in own for own in folders.values()) > 1
    ]
    if shared:
        yield Finding(
            "photos",
            "warning",
            "The classes are"
            f" {format_first([printable(name) for name in sorted(folders)], _MAX_NAMED_CLASSES)},"
            " but all photos lie in folders inside them, and some of these have the same name:"
            f" {format_first([printable(name) for name in shared], _MAX_NAMED_CLASSES)}.",
            "If the inner folders are the classes, give --data the folder right above them. If"
            " the outer folders are splits, call them train, val and test.",
        )


def balance(evidence: Evidence) -> Iterator[Finding]:
    """Find one class that outweighs the others."""
    counts = evidence.photos.per_class()
    if len(counts) < 2:
        return
    largest = max(counts, key=counts.__getitem__)
    smallest = min(counts, key=counts.__getitem__)
    share = counts[largest] / sum(counts.values())
    comparison = (
        f"{printable(largest)} has {counts[largest]:,} photos, {printable(smallest)} has"
        f" {counts[smallest]:,}"
    )
    if share > _DOMINANT_SHARE:
        yield Finding(
            "photos",
            "warning",
            f"{share:.0%} of the photos are of one class: {comparison}.",
            "Add photos of the other classes; a model trained here mostly learns to predict"
            " the large one.",
        )
    elif counts[largest] > _UNEVEN_RATIO * counts[smallest]:
        yield Finding(
            "photos",
            "note",
            f"The classes are uneven: {comparison}.",
            "That is usual, and other stores make up for it. Photos of the small classes help the"
            " most.",
        )


def names(evidence: Evidence) -> Iterator[Finding]:
    """Find classes that are probably one: their names differ in case, spaces or a letter."""
    counts = evidence.photos.per_class()
    for one, other in combinations(counts, 2):
        if not _alike(one, counts[one], other, counts[other]):
            continue
        small, large = sorted((one, other), key=counts.__getitem__)
        yield Finding(
            "photos",
            "warning",
            f'Two classes have nearly the same name: "{printable(large)}"'
            f' ({format_count(counts[large], "photo")}) and "{printable(small)}"'
            f" ({format_count(counts[small], 'photo')}).",
            "If they are the same product, move all photos into one folder, spelt as the other"
            " stores spell it.",
        )


def unknown(evidence: Evidence) -> Iterator[Finding]:
    """Find classes that the server's run does not know, or spells otherwise."""
    probe = evidence.probe
    counts = evidence.photos.per_class()
    if probe is None:
        return
    if probe.classes is None:
        yield Finding(
            "server",
            "note",
            "The server has not said which classes it teaches.",
            "Nothing has to be done: the server says so once it is started with --classes, or"
            " once its stores have joined.",
        )
        return
    if scene_task_of_classes(probe.classes):
        yield Finding(
            "photos",
            "problem",
            "The chain finds products on photos of scenes, and these photos have no boxes.",
            "Give --data a folder of scenes with labels (YOLO, COCO or Pascal VOC), or take no"
            " part in this run.",
        )
        return
    alike = {normalize_name(name): name for name in probe.classes}
    known = class_indices(list(counts), probe.classes, merge=probe.merges)
    for label in (label for label in counts if label not in known):
        near = alike.get(normalize_name(label)) or next(
            iter(get_close_matches(label, probe.classes, n=1)), None
        )
        advice = (
            f'Rename the folder to "{printable(near)}" if that is meant'
            if near
            else "Rename or move that folder"
        )
        yield Finding(
            "photos",
            "problem",
            f'The chain does not teach the class "{printable(label)}"'
            f" ({format_count(counts[label], 'photo')}).",
            f"{advice}, or ask the chain to add the class: a store with a class of its own"
            " takes no part.",
        )


def doubts(evidence: Evidence) -> Iterator[Finding]:
    """Find photos that a model is sure are of another class."""
    label_errors = evidence.label_errors
    if label_errors is None:
        return
    if label_errors.unknown:
        unknown_classes = [printable(label) for label in label_errors.unknown]
        yield Finding(
            "photos",
            "warning",
            f"The model does not know {format_first(unknown_classes, _MAX_NAMED_CLASSES)}.",
            "Rename the folder as the chain spells the class, or ask the chain to add the class.",
        )
    if not label_errors.judged:
        return
    agreement = label_errors.agreed / label_errors.judged
    agreement_sentence = f"The model agrees with {agreement:.0%} of {label_errors.judged:,} labels"
    if agreement < _MIN_AGREEMENT:
        yield Finding(
            "photos",
            "note",
            f"{agreement_sentence}: too few for its doubts about single photos to mean much.",
            "Nothing has to be done. Check again with a better model.",
        )
    elif label_errors.doubts:
        yield Finding(
            "photos",
            "warning",
            f"{format_count(len(label_errors.doubts), 'photo is', 'photos are')} probably in the"
            f" wrong class folder. {agreement_sentence}.",
            "Look at each and move it if the model is right.",
            tuple(
                Exhibit(
                    doubt.seen.photo.name,
                    f"{printable(doubt.probable_class)}? ({doubt.probability:.0%})",
                    doubt.seen.photo.path,
                )
                for doubt in label_errors.doubts
            ),
        )


def _alike(one: str, photos: int, other: str, others: int) -> bool:
    """Return whether two class names probably mean one class.

    They are equal but for case, separators or a plural; or they differ by a letter and one class
    is small enough for a typing error. A letter alone says little: shirts and skirts are both
    sold.
    """
    first = _plain(one)
    second = _plain(other)
    if _singular(first) == _singular(second):
        return True
    small, large = sorted((photos, others))
    return (
        small <= _TYPING_ERROR_SHARE * large
        and min(len(first), len(second)) >= 4
        and _one_slip(first, second)
    )


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _singular(name: str) -> str:
    return re.sub(r"(?<=ss|sh|ch|.x)es$|(?<=[^s\d])s$", "", name)


def _one_slip(one: str, other: str) -> bool:
    """Return whether one letter more, less or changed, or two letters swapped, turn one name into
    the other.
    """
    if abs(len(one) - len(other)) > 1:
        return False
    first_difference = next(
        (index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        None,
    )
    if first_difference is None:
        return len(one) != len(other)
    rest = one[first_difference:]
    others = other[first_difference:]
    swapped = rest[:2] == others[:2][::-1] and rest[2:] == others[2:]
    return swapped or rest[1:] == others[1:] or rest[1:] == others or rest == others[1:]
