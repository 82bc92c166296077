"""Bringing an index up to date with its folder: only photos with new content pass the model."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.content_digests import ContentDigests, hash_files
from fedshelf.common.images.listing.folder_entries import LeftOut
from fedshelf.common.inference.predictors.embeddings import unit_vectors
from fedshelf.common.inference.predictors.photos import NamedPhoto, list_photos, predict_photos
from fedshelf.common.inference.predictors.predictor import Floats, Predictor
from fedshelf.common.inference.search.familiarity import own_threshold
from fedshelf.common.inference.search.index_file import (
    IndexedPhoto,
    SearchIndex,
    read_index,
    write_index,
)

PHOTOS_PER_SAVE = 4096
"""New photos after which the index is written: a machine that stops loses no more of them."""

Progress = Callable[[int], Callable[[int], object]]
"""Takes the number of photos that will pass the model, and returns what counts them."""


@dataclass(frozen=True)
class IndexChanges:
    """The difference between two indexes, in files.

    Attributes:
        added: files that were not there
        changed: files with another content
        removed: files that are no longer there, or can no longer be used
    """

    added: int
    changed: int
    removed: int


def update_index(
    path: Path,
    folder: Path,
    predictor: Predictor,
    left_out: LeftOut,
    progress: Progress = lambda _: lambda _: None,
) -> tuple[SearchIndex, IndexChanges]:
    """Write the index of a folder's photos, and return it.

    Photos whose content is in the index already are not decoded again, and files that did not
    change are not even read.

    Args:
        path: the index's file; one that is there is brought up to date
        folder: of photos, at any depth
        predictor: the model that makes the embeddings
        left_out: gets the files that could not be used, with the reason
        progress: see `Progress`

    Raises:
        DataError: the index is damaged, of another model or being written, or the folder has no
            photo that can be used.
        OSError: the disk is full.
    """
    if not predictor.description.sha256:
        raise DataError(
            "The model does not say of which file it is, so no index can belong to it; export it"
            " once more, or use the model.safetensors of its run."
        )
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; expected a folder of photos.")
    with _only_writer(path):
        old = read_index(path) if path.exists() else None
        if old is not None:
            old.check_model(predictor.description, path)
        listed = sorted(
            list_photos([folder.resolve()], left_out),
            key=lambda photo: (photo.name, str(photo.path)),
        )
        hashed = hash_files(
            [photo.path for photo in listed], old.known_files() if old else {}, time.time_ns()
        )
        state = _State(folder.resolve(), predictor, old, _by_content(listed, hashed, left_out))
        missing = state.missing()
        new = 0
        for photos, _, predictions in predict_photos(
            predictor, missing, left_out, progress(len(missing))
        ):
            state.add(photos, unit_vectors(predictions.embeddings), hashed, left_out)
            new += len(photos)
            if new >= PHOTOS_PER_SAVE:
                new = 0
                write_index(path, state.index(hashed, is_complete=False))
        index = state.index(hashed, is_complete=True)
        if not index.photos:
            raise DataError(
                f"No photo of {folder} could be indexed; expected JPEG, PNG, WebP, GIF, BMP, TIFF,"
                " AVIF or HEIC files."
            )
        write_index(path, index)
    return index, _changes(old, index)


class _State:
    """The embeddings of a folder's photos that are known so far, by content.

    Args:
        folder: absolute
        predictor: the model
        old: the index so far
        photos: content's hash -> the files that have it
    """

    def __init__(
        self,
        folder: Path,
        predictor: Predictor,
        old: SearchIndex | None,
        photos: Mapping[bytes, list[NamedPhoto]],
    ) -> None:
        self._folder = folder
        self._model = predictor.description.sha256 or ""
        self._decoder = predictor.pixel_format.tag
        self._photos = photos
        self._digests = {files[0].path: digest for digest, files in photos.items()}
        self._embeddings: dict[bytes, Floats] = {}
        if old is not None and old.decoder == self._decoder:
            self._embeddings = {
                photo.digest: old.embeddings[row] for row, photo in enumerate(old.photos)
            }

    def missing(self) -> list[NamedPhoto]:
        """Return a file of each content without an embedding."""
        return [
            files[0] for digest, files in self._photos.items() if digest not in self._embeddings
        ]

    def add(
        self,
        photos: list[NamedPhoto],
        embeddings: Floats,
        hashed: ContentDigests,
        left_out: LeftOut,
    ) -> None:
        """Take embeddings [N, D] of N photos, but of those that changed since they were hashed."""
        now = hash_files([photo.path for photo in photos], hashed.known, time.time_ns())
        for photo, embedding, digest in zip(photos, embeddings, now.digests, strict=True):
            if isinstance(digest, bytes) and digest == self._digests[photo.path]:
                self._embeddings[digest] = embedding
            else:
                left_out.append((photo.name, "changed while it was indexed"))

    def index(self, hashed: ContentDigests, *, is_complete: bool) -> SearchIndex:
        """Return the index of the photos with an embedding, in the order of the folder."""
        found = {d: files for d, files in self._photos.items() if d in self._embeddings}
        embeddings = (
            np.stack([self._embeddings[digest] for digest in found])
            if found
            else np.empty((0, 0), np.float32)
        )
        return SearchIndex(
            model=self._model,
            decoder=self._decoder,
            folder=self._folder,
            threshold=own_threshold(embeddings) if is_complete else None,
            is_complete=is_complete,
            photos=tuple(
                IndexedPhoto(digest, tuple(self._file(photo, hashed) for photo in files))
                for digest, files in found.items()
            ),
            embeddings=embeddings,
        )

    def _file(
        self, photo: NamedPhoto, hashed: ContentDigests
    ) -> tuple[str, tuple[int, ...] | None]:
        known = hashed.known.get(str(photo.path))
        relative = str(photo.path.relative_to(self._folder))
        return relative, None if known is None else tuple(known[0])


def _by_content(
    listed: list[NamedPhoto], hashed: ContentDigests, left_out: LeftOut
) -> dict[bytes, list[NamedPhoto]]:
    """Return the files of each content, in the order of the folder."""
    found: dict[bytes, list[NamedPhoto]] = {}
    for photo, digest in zip(listed, hashed.digests, strict=True):
        if isinstance(digest, bytes):
            found.setdefault(digest, []).append(photo)
        else:
            left_out.append((photo.name, str(digest)))
    return found


def _changes(old: SearchIndex | None, new: SearchIndex) -> IndexChanges:
    before = {} if old is None else _contents(old)
    after = _contents(new)
    return IndexChanges(
        added=len(after.keys() - before.keys()),
        changed=sum(after[path] != before[path] for path in after.keys() & before.keys()),
        removed=len(before.keys() - after.keys()),
    )


def _contents(index: SearchIndex) -> dict[Path, bytes]:
    return {
        path: photo.digest for row, photo in enumerate(index.photos) for path in index.paths(row)
    }


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Hold the index against other writers, and remove what a killed one left.

    Raises:
        DataError: somebody else writes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=0):
            for half in path.parent.glob(f".{_literal(path.name)}.*.tmp"):
                half.unlink(missing_ok=True)
            yield
    except Timeout:
        raise DataError(
            f"Another process writes the index {path}; wait until it is done."
        ) from None


def _literal(name: str) -> str:
    """Return a pattern that matches the name alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
