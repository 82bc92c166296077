"""Data sets in the Hugging Face layout: parquet files with a column of encoded images and one of labels.

Splits are told by file names (`train-00000-of-00001.parquet`) or folders (`train/0000.parquet`), at any
depth. Columns and class names are told by the schema metadata `huggingface`
(https://huggingface.co/docs/datasets/about_dataset_features), or guessed from the column types.
"""

import contextlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError
from common.images.decode import NotUsableError, PixelFormat, decode
from common.images.parallel import in_order
from simulations.datasets.assemble import assemble, unlabelled
from simulations.datasets.cache import Chunk, Part, decoded, described, key_of
from simulations.datasets.types import Dataset, Source

SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
EXPECTED = "files such as train-00000-of-00001.parquet and test-00000-of-00001.parquet (the Hugging Face layout)"
CHUNK = 256  # images decoded as one task of a thread
SAMPLE = 32  # images looked at to tell size and channels

Layout = dict[str, list[Path]]


@dataclass(frozen=True)
class Columns:
    """Where images and labels are, and the ordered class names."""

    image: str
    label: str
    classes: tuple[str, ...]


def layout(folder: Path) -> Layout:
    """Parquet files by split, sorted; empty if there are none for training.

    Raises DataError if several sub-folders hold training files: they are different data sets.
    """
    found: Layout = {}
    for path in sorted(folder.rglob("*.parquet")):
        for name in (path.name, path.parent.name):
            match = re.match("|".join(SPLITS), name.lower())
            if match:
                found.setdefault(SPLITS[match[0]], []).append(path)
                break
    homes = {path.parent.parent if path.parent.name in SPLITS else path.parent for path in found.get("train", [])}
    if len(homes) > 1:
        names = ", ".join(sorted(str(home.relative_to(folder)) for home in homes))
        raise DataError(f"{folder} holds several data sets ({names}); give the folder of one of them.")
    return found if homes else {}


def source(folder: Path, name: str) -> Source:
    """The data set in `folder`, which has a `layout`. Raises DataError if its columns cannot be used."""
    files = layout(folder)
    key = key_of(path for split in sorted(files) for path in files[split])
    about = described(key, partial(_describe, files))
    columns = Columns(about["image"], about["label"], tuple(about["classes"]))
    return Source(name, about["native_size"], about["channels"], partial(_load, name, files, key, columns))


def _load(name: str, files: Layout, key: str, columns: Columns, form: PixelFormat) -> Dataset:
    splits = decoded(key, form, lambda: {split: _part(paths, columns, form) for split, paths in files.items()})
    return assemble(name, columns.classes, splits, unlabelled(splits))


def _describe(files: Layout) -> dict[str, Any]:
    """Columns, classes, image size and channels, from the schema and the first images."""
    import pyarrow.parquet as pq

    first = files["train"][0]
    with _reading(first):
        columns = _columns(first, pq.read_schema(first), files)
    images, _ = next(_batches([first], columns, SAMPLE), ([], None))
    sizes, modes = _look_at(images)
    return {
        "image": columns.image,
        "label": columns.label,
        "classes": columns.classes,
        "native_size": _side(sizes),
        "channels": 1 if modes and modes <= {"1", "L", "I", "I;16"} else 3,
    }


def _look_at(images: Sequence[bytes]) -> tuple[set[tuple[int, int]], set[str]]:
    """Sizes and Pillow modes of encoded images, from their headers."""
    from PIL import Image

    sizes, modes = set(), set()
    for data in images:
        try:
            with Image.open(io.BytesIO(data)) as image:
                sizes.add(image.size)
                modes.add(image.mode)
        except Exception:  # a broken image is reported when it is decoded
            continue
    return sizes, modes


def _side(sizes: set[tuple[int, int]]) -> int | None:
    """The side of the squares that all images are, or None."""
    sides = {side for size in sizes for side in size}
    return sides.pop() if len(sizes) == 1 and len(sides) == 1 else None


def _columns(path: Path, schema: Any, files: Layout) -> Columns:
    """Find the columns. Raises DataError saying which columns there are."""
    from pyarrow import types

    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    kinds = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}
    images = [f.name for f in schema if kinds.get(f.name) == "Image"] or [
        f.name for f in schema if types.is_binary(f.type) or (types.is_struct(f.type) and "bytes" in f.type.names)
    ]
    integers = [field.name for field in schema if types.is_integer(field.type)]
    labels = (
        [name for name in integers if kinds.get(name) == "ClassLabel"]
        or [n for n in integers if n == "label"]
        or integers
    )
    if not images or not labels:
        got = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise DataError(
            f"{path} has the columns {got}; expected one of encoded images (bytes) and one of integer labels."
        )
    names = features.get(labels[0], {}).get("names") or _numbers(labels[0], files)
    return Columns(images[0], labels[0], tuple(names))


def _numbers(label: str, files: Layout) -> list[str]:
    """Class names "0", "1", ... up to the largest label."""
    import pyarrow.parquet as pq

    largest = 0
    for path in (path for paths in files.values() for path in paths):
        with _reading(path):
            column = pq.read_table(path, columns=[label])[label].drop_null().to_numpy()
        largest = max(largest, int(column.max(initial=0)))
    return [str(number) for number in range(largest + 1)]


def _part(paths: Sequence[Path], columns: Columns, form: PixelFormat) -> Part:
    import pyarrow.parquet as pq

    count = 0
    for path in paths:
        with _reading(path):
            count += pq.read_metadata(path).num_rows
    batches = _batches(paths, columns, CHUNK)
    return Part(count, in_order(partial(_decode, form=form, classes=len(columns.classes)), batches))


def _batches(paths: Sequence[Path], columns: Columns, size: int) -> Iterator[tuple[list[bytes], NDArray[np.int64]]]:
    """Encoded images and labels (int64; -1 where there is none), `size` at a time."""
    import pyarrow.parquet as pq

    for path in paths:
        with _reading(path):
            for batch in pq.ParquetFile(path).iter_batches(batch_size=size, columns=[columns.image, columns.label]):
                labels = batch.column(columns.label).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
                yield [_encoded(value) for value in batch.column(columns.image).to_pylist()], labels


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn pyarrow's errors (they derive from these) into one clear sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise DataError(f"{path} cannot be read as a parquet file: {reason}. Download it again.") from error


def _encoded(value: Any) -> bytes:
    """The bytes of one entry of an image column; none if it is empty."""
    data = value.get("bytes") if isinstance(value, dict) else value
    return data if isinstance(data, bytes) else b""


def _decode(batch: tuple[list[bytes], NDArray[np.int64]], form: PixelFormat, classes: int) -> Chunk:
    """Pixels and labels; the label of an image that is broken or has no class becomes -1."""
    images, labels = batch
    pixels = np.zeros((len(images), *form.shape), np.uint8)
    labels = np.where((labels >= 0) & (labels < classes), labels, -1)
    for row, data in enumerate(images):
        try:
            pixels[row] = decode(data, form)
        except NotUsableError:
            labels[row] = -1
    return pixels, labels
