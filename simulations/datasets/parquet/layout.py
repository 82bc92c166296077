"""Assignment of the parquet files of a folder to training, validation and testing.

The names of files (`train-00000-of-00001.parquet`) or folders (`train/0000.parquet`), at any
depth, decide. If no file names a split, all are for training, as on the Hugging Face hub
(https://huggingface.co/docs/datasets/repository_structure).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.images.listing.folder_entries import has_photos
from fedshelf.common.images.listing.split import SPLITS, Split
from fedshelf.common.images.listing.split_names import SPLIT_NAMES, split_named
from fedshelf.common.wording import format_list
from fedshelf.simulations.datasets.parquet.reading import rows_of

EXPECTED = (
    "files such as train-00000-of-00001.parquet and test-00000-of-00001.parquet (the Hugging Face"
    " layout)"
)

Files = Mapping[Split, Sequence[Path]]
"""Split -> its parquet files, sorted."""

# The hub uses `partial-train` for a data set that it converted only in part.
_SPLIT_NAME = re.compile(rf"(?:partial-)?({'|'.join(SPLIT_NAMES)})(?![^\W\d_])", re.IGNORECASE)


@dataclass(frozen=True)
class ParquetLayout:
    """The parquet files of one data set.

    Attributes:
        splits: the files of each split; no split is empty
        unused: the files whose names name no split, although others' do
    """

    splits: Files
    unused: tuple[Path, ...] = ()

    def files(self) -> list[Path]:
        """Return all files, sorted."""
        return sorted([path for paths in self.splits.values() for path in paths] + [*self.unused])

    def unused_in_words(self) -> str:
        """Return the sentence on files that belong to no split; empty if there are none.

        Raises:
            DataError: such a file cannot be read.
        """
        if not self.unused:
            return ""
        named = ", ".join(f"{path.name} ({rows_of(path)} rows)" for path in self.unused)
        return f"Not used, as their names tell no split (train, validation, test): {named}."


def layout(folder: Path) -> ParquetLayout | None:
    """Return the parquet files of a folder, by split.

    Args:
        folder: the folder, or a single parquet file

    Returns:
        The files; None if there are none. None, too, if no file is named as training and photos lie
        beside the files: then it is a folder of photos.

    Raises:
        DataError: several sub-folders hold such files: they are different data sets.
    """
    if folder.is_file():
        return ParquetLayout({"train": (folder,)}) if folder.suffix.lower() == ".parquet" else None
    paths = sorted(_parquet_files(folder))
    split_of_path = {path: _split_of_path(path, folder) for path in paths}
    _check_one_name(folder, {name.casefold() for name, _ in split_of_path.values() if name})
    paths_of_split = {
        split: [
            path
            for path, (split_name, _) in split_of_path.items()
            if split_named(split_name) == split
        ]
        for split in SPLITS
    }
    splits: Files = {split: files for split, files in paths_of_split.items() if files}
    if not paths or ("train" not in splits and has_photos(folder)):
        return None
    unused = [path for path, (name, _) in split_of_path.items() if not name] if splits else []
    folders = {
        folder_of_file for path, (_, folder_of_file) in split_of_path.items() if path not in unused
    }
    if len(folders) > 1:
        names = ", ".join(
            sorted(str(folder_of_file.relative_to(folder)) for folder_of_file in folders)
        )
        raise DataError(
            f"{folder} holds several data sets ({names}); give the folder of one of them."
        )
    return ParquetLayout(splits or {"train": paths}, tuple(unused))


def _parquet_files(folder: Path) -> Iterator[Path]:
    """Yield all parquet files below `folder` except hidden ones.

    Files of an unfinished download are hidden.
    """
    for path in folder.rglob("*.parquet"):
        if (
            not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and path.is_file()
        ):
            yield path


def _check_one_name(folder: Path, names: set[str]) -> None:
    """Check that each split has one name.

    Raises:
        DataError: a split has two names. The second could be a copy, or further images.
    """
    for split in SPLITS:
        alike = sorted(name for name in names if split_named(name) == split)
        if len(alike) > 1:
            raise DataError(
                f"{folder} has parquet files of {format_list(alike)}, which all mean the {split}"
                " split; expected one name for each split: rename them alike, or move away what is"
                " not wanted."
            )


def _split_of_path(path: Path, folder: Path) -> tuple[str, Path]:
    """Return the name of a split in a file's path, and the data set's folder.

    The name is that in the file's own name, or else that of a folder above it; empty if there is
    none.
    """
    path_or_parent = path
    while path_or_parent != folder:
        if match := _SPLIT_NAME.match(path_or_parent.name):
            return match[1], path_or_parent.parent
        path_or_parent = path_or_parent.parent
    return "", path.parent
