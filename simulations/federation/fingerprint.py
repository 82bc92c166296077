"""Fingerprints of the simulated stores' images at the start of a run, so that a resumed run detects
other images.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.common.images.types import Images
from fedshelf.common.wording import format_count
from fedshelf.server.formatting import whole
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.simulations.federation.federation import Federation

FINGERPRINT_FILE = "data.json"
REMARK = "changed_data"  # key in the history, of the first round with other images
SERVER_IN_WORDS = "the server"
FINGERPRINT_BYTES = 8  # 10^8 images have a hash collision with a probability of 10^-4
MAX_DIFFERENCES_NAMED = 5  # differences that a sentence names

Fingerprint = dict[str, Any]
"""Store -> split -> {"order": digest, "classes": {class: [images, digest]}}; `SERVER_IN_WORDS` has
a split "test".
"""


def fingerprint_of(federation: Federation) -> Fingerprint:
    """Return the fingerprint of all stores: hashes per split and class, and per split.

    It has the number of images of each split and class with a hash over their sorted hashes, and
    for each split a hash over all images in the order in which they are trained on. An image's
    hash is that of its pixels as the model gets them: names of files and their compression do not
    matter.
    """
    hashes = _Hashes()
    fingerprint = {
        name: {
            split: _of(hashes, images, federation.classes)
            for split, images in (
                ("train", data.train),
                ("validation", data.validation),
                ("test", data.test),
            )
            if len(images)
        }
        for name, data in federation.stores.items()
    }
    if federation.test is not None:
        fingerprint[SERVER_IN_WORDS] = {"test": _of(hashes, federation.test, federation.classes)}
    return fingerprint


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the differences between two fingerprints in words, store by store; empty if there are
    none.
    """
    names = [*before, *(name for name in now if name not in before)]
    differences = []
    for name in names:
        if differences_of_store := list(_of_store(before.get(name, {}), now.get(name, {}))):
            differences.append(f"{name} ({'; '.join(differences_of_store)})")
    return differences


def check(directory: RunDirectory, now: Fingerprint, advice: str = "") -> list[str]:
    """Keep the fingerprint of a new run; compare that of a resumed run with the kept one.

    Return the differences.

    Raises DataError for a difference if there is `advice` on what else can be done; without
    advice, it is returned.
    """
    path = directory.path / FINGERPRINT_FILE
    if not path.exists():
        directory.write(FINGERPRINT_FILE, now)
        return []
    before = json.loads(path.read_text(encoding="utf-8"))
    differences = changes(before, now)
    if differences and advice:
        more = (
            f", and {len(differences) - MAX_DIFFERENCES_NAMED} more"
            if len(differences) > MAX_DIFFERENCES_NAMED
            else ""
        )
        totals = f"{whole(_total(now))} images where there were {whole(_total(before))}"
        raise DataError(
            f"The data of {directory.path} changed since it began, {totals}:"
            f" {', '.join(differences[:MAX_DIFFERENCES_NAMED])}{more}. Restore the earlier data"
            f" to get the same result, {advice}."
        )
    return differences


def keep(directory: RunDirectory, now: Fingerprint, changed: list[str]) -> None:
    """Replace the kept fingerprint, once the history says what changed."""
    if changed and any(record.get(REMARK) == changed for record in directory.history()):
        directory.write(FINGERPRINT_FILE, now)


class _Hashes:
    """The hash of each image, computed once for each array."""

    def __init__(self) -> None:
        self._known: dict[int, NDArray[np.uint64]] = {}

    def __call__(self, images: Images) -> NDArray[np.uint64]:
        """Return the hashes of a set's images, uint64 [N]."""
        address = images.inputs.data_ptr()
        if address not in self._known:
            rows = images.inputs.numpy().reshape(len(images.inputs), -1)
            digests = b"".join(
                blake2b(row.data, digest_size=FINGERPRINT_BYTES).digest() for row in rows
            )
            self._known[address] = np.frombuffer(digests, dtype=np.uint64)
        hashes: NDArray[np.uint64] = self._known[address][images.rows.numpy()]
        return hashes


def _of(hashes: _Hashes, images: Images, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the fingerprint of one set."""
    hashes_of_images = hashes(images)
    labels = images.targets().numpy()
    order = np.lexsort((hashes_of_images, labels))
    labels_present, starts = np.unique(labels[order], return_index=True)
    sorted_hashes = np.split(hashes_of_images[order], starts[1:])
    return {
        "order": _digest(hashes_of_images.tobytes() + labels.tobytes()),
        "classes": {
            classes[label]: [len(hashes_of_class), _digest(hashes_of_class.tobytes())]
            for label, hashes_of_class in zip(labels_present.tolist(), sorted_hashes, strict=True)
        },
    }


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=FINGERPRINT_BYTES).hexdigest()


def _of_store(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the differences of a store's splits, in words."""
    for split in ("train", "validation", "test"):
        nothing: dict[str, Any] = {"order": "", "classes": {}}
        old = before.get(split, nothing)
        new = now.get(split, nothing)
        labels = sorted(old["classes"].keys() | new["classes"].keys())
        told = [
            part for label in labels if (part := _of_class(label, old["classes"], new["classes"]))
        ]
        if told:
            yield f"{split}: {', '.join(told)}"
        elif old["order"] != new["order"]:
            yield f"{split}: the same images in another order"


def _of_class(label: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    (old, was), (new, now_is) = before.get(label, (0, "")), now.get(label, (0, ""))
    if old != new:
        return f"{label} {whole(new)} instead of {whole(old)}"
    return (
        f"{label} {format_count(new, 'image')} as before, but not the same" if was != now_is else ""
    )


def _total(fingerprint: Mapping[str, Any]) -> int:
    """Count the images of all stores and the server."""
    return sum(
        count
        for store in fingerprint.values()
        for split in store.values()
        for count, _ in split["classes"].values()
    )
