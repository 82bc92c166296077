"""Loading a data set, or the sentence that says why not."""

from pathlib import Path

import pytest

from fedshelf.common.config import DataConfig
from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.simulations import datasets


def load(path: Path | str, form: PixelFormat | None = None, **data) -> datasets.Dataset:
    config = DataConfig(dataset=str(path), **data)
    return datasets.load(config, form or PixelFormat(datasets.find(config).native_size or 8))


def refusal(path: Path | str, **data) -> str:
    with pytest.raises(DataError) as raised:
        load(path, **data)
    assert "\n" not in str(raised.value)
    return str(raised.value)
