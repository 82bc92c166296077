"""The images of a real store: its folder of photos."""

from collections import Counter
from pathlib import Path

from client.failures import StoreError
from common.config import RunConfig
from common.errors import DataError
from common.images.folder import Folder, open_folder, relabel
from common.images.types import StoreData
from common.orders import STORE_CHANNELS, Plan, StoreInfo


class FolderSource:
    """A `client.work.DataSource` over a folder of photos, or a CSV file of them."""

    def __init__(self, name: str, path: Path) -> None:
        self._name, self._path = name, path

    def describe(self, config: RunConfig) -> StoreInfo:
        """Training images by class, and those held out. Raises DataError."""
        folder = self._open(config)
        train = folder.splits["train"]
        counts = Counter(train.targets().tolist())
        return StoreInfo(
            self._name,
            {name: counts.get(number, 0) for number, name in enumerate(folder.classes)},
            validation=len(folder.splits["validation"]),
            test=len(folder.splits["test"]),
        )

    def open(self, plan: Plan) -> StoreData:
        """The photos, labelled by the run's classes. Raises StoreError for a class that is none of them, DataError."""
        folder, classes = self._open(plan.config), plan.spec.classes
        try:
            splits = relabel(folder, classes).splits
        except DataError as error:
            raise StoreError("unknown-class", str(error)) from error
        return StoreData(splits["train"], splits["validation"], splits["test"])

    def _open(self, config: RunConfig) -> Folder:
        """Quick but for the first time: photos are decoded once, into a cache."""
        size, denoise = config.data.image_size, config.data.denoise
        return open_folder(self._path, image_size=size, channels=STORE_CHANNELS, denoise=denoise)
