"""The file of an index: embeddings and names of a store's photos, sealed against damage.

It is a valid safetensors file with four tensors, in this order:

    embeddings  float32 [N, D], each of length 1
    photos      uint8, N lines of JSON
    pieces      uint8 [P, 32], the SHA-256 of each MiB of the two tensors above
    seal        uint8 [32], the SHA-256 of the header and of `pieces`

No byte is outside of the hashes, so any change of any byte is found when the file is opened. The
embeddings are mapped into memory, not read. A file is always written whole beside the old one and
renamed: after a crash at any moment the old or the new one is there, and one that is in use stays
valid for its user.
"""

import hashlib
import itertools
import json
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NoReturn

import numpy as np

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.content_digests import KnownFiles
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.images.listing.folder_entries import valid_text
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import Floats
from fedshelf.common.system.files import write_atomic

INDEX_FORMAT = "fedshelf index 1"
_PIECE_BYTES = 2**20
_HASH_BYTES = hashlib.sha256().digest_size
_ALIGNMENT_BYTES = 64  # of the embeddings in the file, for the processor's vector instructions


@dataclass(frozen=True)
class IndexedPhoto:
    """A photo of the index, by its content.

    Attributes:
        digest: its content's hash
        files: the files with that content, by their path within the folder; with size, times and
            inode, by which an unchanged file is known again; None: it had just changed
    """

    digest: bytes
    files: tuple[tuple[str, tuple[int, ...] | None], ...]


@dataclass(frozen=True)
class SearchIndex:
    """An index of N photos.

    Attributes:
        model: SHA-256 of the model that made the embeddings
        decoder: form and decoders of the pixels that it saw
        folder: the folder that was indexed
        threshold: mean similarity to the nearest indexed photos below which a photo is like
            nothing in the index; None: the index is not finished, or has one photo only
        is_complete: whether the whole folder was indexed, before somebody stopped it
        photos: N photos
        embeddings: float32 [N, D], each of length 1
    """

    model: str
    decoder: str
    folder: Path
    threshold: float | None
    is_complete: bool
    photos: tuple[IndexedPhoto, ...]
    embeddings: Floats

    def paths(self, row: int) -> list[Path]:
        """Return the files of a photo."""
        return [self.folder / path for path, _ in self.photos[row].files]

    def names(self, row: int) -> list[str]:
        """Return the files of a photo by their names for people, which begin with the folder's."""
        return [
            f"{valid_text(self.folder.name)}/{valid_text(path)}"
            for path, _ in self.photos[row].files
        ]

    def known_files(self) -> KnownFiles:
        """Return the fingerprints and hashes of its files."""
        return {
            str(self.folder / path): (list(fingerprint), photo.digest.hex())
            for photo in self.photos
            for path, fingerprint in photo.files
            if fingerprint is not None
        }

    def check_model(self, description: ModelDescription, source: Path) -> None:
        """Refuse the index for a model that did not make it.

        Args:
            description: of the model
            source: the file of the index, for errors

        Raises:
            DataError: another model made it.
        """
        if description.sha256 != self.model:
            raise DataError(
                f"The index {source} was made by another model (SHA-256 {self.model[:12]}...,"
                f" expected {(description.sha256 or 'none')[:12]}...); make one for this model:"
                " flower-client index MODEL FOLDER --out FILE."
            )


def write_index(path: Path, index: SearchIndex) -> None:
    """Write an index whole, in place of an older one.

    Args:
        path: the file
        index: all of it

    Raises:
        OSError: the disk is full or cannot be written; the old file is untouched.
    """
    photos = "".join(_line(photo) for photo in index.photos).encode()
    header = _header(_settings(index), index.embeddings.shape, len(photos))

    def write(file: BinaryIO) -> None:
        file.write(header)
        seal = hashlib.sha256(header)
        pieces = []
        for piece in _pieces([_flat(index.embeddings), memoryview(photos)]):
            file.write(piece)
            pieces.append(hashlib.sha256(piece).digest())
        seal.update(b"".join(pieces))
        file.write(b"".join(pieces))
        file.write(seal.digest())

    write_atomic(path, write)


def read_index(path: Path) -> SearchIndex:
    """Return an index after checking all its bytes, with the embeddings mapped into memory.

    Raises:
        DataError: there is none, or it is damaged.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise DataError(
            f"There is no index at {path}; make one: flower-client index MODEL FOLDER --out {path}."
        ) from None
    except OSError as error:
        raise DataError(f"Cannot read the index {path}: {error.strerror or error}.") from error
    except ValueError:  # an empty file cannot be mapped
        _refuse(path)
    try:
        return _parsed(memoryview(mapped), path)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        _refuse(path)


def _parsed(content: memoryview, path: Path) -> SearchIndex:
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(bytes(content[8:start]))
    settings = header["__metadata__"]
    rows, dimensions = header["embeddings"]["shape"]
    (photos_bytes,) = header["photos"]["shape"]
    if bytes(content[:start]) != _header(settings, (rows, dimensions), photos_bytes):
        _refuse(path)
    photos_start = start + 4 * rows * dimensions
    pieces_start = photos_start + photos_bytes
    _check(content, start, pieces_start, path)
    values = json.loads(settings["index"])
    lines = bytes(content[photos_start:pieces_start]).splitlines()
    photos = tuple(_photo(json.loads(line)) for line in lines)
    if len(photos) != rows or settings["format"] != INDEX_FORMAT:
        _refuse(path)
    return SearchIndex(
        model=settings["model"],
        decoder=values["decoder"],
        folder=Path(values["folder"]),
        threshold=None if values["threshold"] is None else float(values["threshold"]),
        is_complete=bool(values["is_complete"]),
        photos=photos,
        embeddings=np.frombuffer(content[start:photos_start], np.float32).reshape(rows, dimensions),
    )


def _check(content: memoryview, start: int, pieces_start: int, path: Path) -> None:
    """Compare all bytes with their hashes. Raises DataError."""
    count = -(-(pieces_start - start) // _PIECE_BYTES)
    seal_start = pieces_start + _HASH_BYTES * count
    if len(content) != seal_start + _HASH_BYTES:
        _refuse(path)
    seal = hashlib.sha256(content[:start])
    seal.update(content[pieces_start:seal_start])
    hashed = map_in_order(
        lambda piece: hashlib.sha256(piece).digest(), _pieces([content[start:pieces_start]])
    )
    if (
        seal.digest() != content[seal_start:]
        or b"".join(hashed) != content[pieces_start:seal_start]
    ):
        _refuse(path)


def _refuse(path: Path) -> NoReturn:
    raise DataError(
        f"The index {path} is damaged or no index of Fedshelf; delete it, and make it again:"
        f" flower-client index MODEL FOLDER --out {path}."
    )


def _header(settings: dict[str, str], shape: Sequence[int], photos_bytes: int) -> bytes:
    """Return the header of the safetensors file, with its length before it.

    Args:
        settings: the metadata
        shape: of the embeddings
        photos_bytes: length of the lines of JSON
    """
    rows, dimensions = shape
    data_bytes = 4 * rows * dimensions + photos_bytes
    pieces = -(-data_bytes // _PIECE_BYTES)
    tensors: dict[str, Any] = {"__metadata__": settings}
    end = 0
    for name, kind, size, tensor_shape in (
        ("embeddings", "F32", 4 * rows * dimensions, [rows, dimensions]),
        ("photos", "U8", photos_bytes, [photos_bytes]),
        ("pieces", "U8", pieces * _HASH_BYTES, [pieces, _HASH_BYTES]),
        ("seal", "U8", _HASH_BYTES, [_HASH_BYTES]),
    ):
        tensors[name] = {"dtype": kind, "shape": tensor_shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(tensors).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT_BYTES)
    return len(text).to_bytes(8, "little") + text


def _settings(index: SearchIndex) -> dict[str, str]:
    values = {
        "decoder": index.decoder,
        "folder": str(index.folder),
        "threshold": index.threshold,
        "is_complete": index.is_complete,
    }
    return {"format": INDEX_FORMAT, "model": index.model, "index": json.dumps(values)}


def _pieces(parts: Sequence[memoryview]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of the parts, one after another, in pieces of a MiB; the last is shorter."""
    rest = b""
    for part in parts:
        first = (_PIECE_BYTES - len(rest)) % _PIECE_BYTES
        if rest:
            head = rest + bytes(part[:first])
            if len(head) < _PIECE_BYTES:
                rest = head
                continue
            yield head
        for start in itertools.count(first, _PIECE_BYTES):
            piece = part[start : start + _PIECE_BYTES]
            if len(piece) < _PIECE_BYTES:
                rest = bytes(piece)
                break
            yield piece
    if rest:
        yield rest


def _flat(embeddings: Floats) -> memoryview:
    return memoryview(np.ascontiguousarray(embeddings).data).cast("B")


def _line(photo: IndexedPhoto) -> str:
    """Return a photo as a line of ASCII: names that are no valid text survive as escapes."""
    return json.dumps({"digest": photo.digest.hex(), "files": photo.files}) + "\n"


def _photo(values: Any) -> IndexedPhoto:
    files = tuple(
        (_inner(path), None if fingerprint is None else tuple(map(int, fingerprint)))
        for path, fingerprint in values["files"]
    )
    if not files:
        raise ValueError(values)
    return IndexedPhoto(bytes.fromhex(values["digest"]), files)


def _inner(path: str) -> str:
    """Return a path that stays within its folder. Raises ValueError."""
    parts = PurePath(path)
    if parts.is_absolute() or ".." in parts.parts or "\0" in path:
        raise ValueError(path)
    return path
