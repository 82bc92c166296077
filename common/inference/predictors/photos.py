"""The photos that a person names: files, folders and CSV files, decoded for a model."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.content_digests import MAX_PHOTO_BYTES
from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat, decode
from fedshelf.common.images.decoding.limits import LOCAL_LIMITS, Limits
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.images.listing.folder_entries import LeftOut, is_photo, valid_text, walk_files
from fedshelf.common.images.listing.tables import read_table
from fedshelf.common.inference.predictors.predictor import Predictions, Predictor

BATCH_SIZE = 32  # photos that are decoded before a pass; bounds the memory


@dataclass(frozen=True)
class NamedPhoto:
    """A file that may be a photo.

    Attributes:
        name: the name for people, relative to the folder that was given, with slashes
        path: the file
        folders: names of the folders between the given one and the file, or the label in a CSV
            file: the photo's class may be among them
    """

    name: str
    path: Path
    folders: tuple[str, ...] = ()

    def label(self, classes: Sequence[str]) -> str | None:
        """Return the class that the photo's folders name; None: none of them, or two."""
        named = {folder for folder in self.folders if folder in set(classes)}
        return named.pop() if len(named) == 1 else None


def list_photos(
    paths: Iterable[Path], left_out: LeftOut, is_wanted: Callable[[str], bool] = is_photo
) -> Iterator[NamedPhoto]:
    """Yield the photos of files, folders (at any depth, by name) and CSV files, in order.

    Args:
        paths: as a person gave them
        left_out: gets folders that cannot be read, and files in folders that are not wanted
        is_wanted: whether a file of this name is yielded, in a folder

    Raises:
        DataError: a path does not exist, or a CSV file cannot be used.
    """
    for path in paths:
        if path.is_dir():
            folder = path.name if path.name.strip(".") else path.resolve().name  # "." and ".."
            for name, file in sorted(walk_files(path, folder, set(), left_out)):
                if is_wanted(name):
                    yield NamedPhoto(name, file, tuple(name.split("/")[:-1]))
                else:
                    left_out.append((name, "no photo, by its name"))
        elif path.suffix.lower() in (".csv", ".tsv") and path.is_file():
            table = read_table(path)
            left_out += table.left_out
            for row in table.rows:
                yield NamedPhoto(
                    valid_text(row.image), path.parent / row.image, (valid_text(row.label),)
                )
        elif path.exists():
            yield NamedPhoto(valid_text(path.name), path)
        else:
            raise DataError(
                f"There is no {path}; expected photos, folders of photos, or a CSV file with a line"
                " IMAGE,LABEL for each photo."
            )


def distinct(photos: Iterable[NamedPhoto]) -> list[NamedPhoto]:
    """Return each file once: somebody may give a folder and a photo in it."""
    return list({photo.path.absolute(): photo for photo in photos}.values())


def decode_file(
    path: Path, form: PixelFormat, limits: Limits = LOCAL_LIMITS
) -> NDArray[np.uint8] | NotUsableError:
    """Return a photo as uint8 [S, S, C], or the reason why it cannot be used."""
    try:
        if path.stat().st_size > MAX_PHOTO_BYTES:
            return NotUsableError("too large for a photo")
        return decode(path.read_bytes(), form, limits)
    except NotUsableError as reason:
        return reason
    except OSError as error:
        return NotUsableError(f"unreadable: {error.strerror}")


def predict_photos(
    predictor: Predictor,
    photos: Iterable[NamedPhoto],
    left_out: LeftOut,
    done: Callable[[int], object] = lambda _: None,
) -> Iterator[tuple[list[NamedPhoto], NDArray[np.uint8], Predictions]]:
    """Yield photos in batches with their pixels (uint8 [B, H, W, C]) and predictions, in order.

    Args:
        predictor: the model
        photos: files that may be photos
        left_out: gets the files that cannot be decoded
        done: called with the number of files that each batch took
    """

    def decoded(photo: NamedPhoto) -> tuple[NamedPhoto, NDArray[np.uint8] | NotUsableError]:
        return photo, decode_file(photo.path, predictor.pixel_format)

    waiting = map_in_order(decoded, photos)
    while batch := list(itertools.islice(waiting, BATCH_SIZE)):
        usable = [(photo, pixels) for photo, pixels in batch if isinstance(pixels, np.ndarray)]
        left_out += [
            (photo.name, str(reason))
            for photo, reason in batch
            if isinstance(reason, NotUsableError)
        ]
        if usable:
            squares = np.stack([pixels for _, pixels in usable])
            yield [photo for photo, _ in usable], squares, predictor.predict(squares)
        done(len(batch))
