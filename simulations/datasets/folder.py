"""A folder of photos, or a CSV file, as a person's disk has it; see `common.images`."""

from functools import partial
from pathlib import Path

from common.images.decode import PixelFormat
from common.images.folder import open_folder
from common.images.types import Images
from simulations.datasets.assemble import assemble
from simulations.datasets.types import Dataset, Source


def source(path: Path) -> Source:
    """Photos of any size, read in colour."""
    return Source(path.resolve().name, None, 3, partial(_load, path), photos=path)


def _load(path: Path, form: PixelFormat) -> Dataset:
    folder = open_folder(path, image_size=form.image_size, channels=form.channels, denoise=form.denoise)
    splits: dict[str, Images] = dict(folder.splits.items())
    return assemble(path.name, folder.classes, splits, folder.summary() if folder.left_out or folder.unopened else "")
