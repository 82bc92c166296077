"""Reading of parquet files, batch by batch."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedshelf.common.errors import DataError


def schema_of(path: Path) -> Any:
    """Return the pyarrow schema of a file.

    Raises:
        DataError: the file cannot be read.
    """
    import pyarrow.parquet as pq

    with _reading(path):
        return pq.read_schema(path)


def rows_of(path: Path) -> int:
    """Return the number of rows of a file.

    Raises:
        DataError: the file cannot be read.
    """
    import pyarrow.parquet as pq

    with _reading(path):
        return int(pq.read_metadata(path).num_rows)


def batches(path: Path, columns: Sequence[str], size: int) -> Iterator[Any]:
    """Yield record batches of some columns.

    Args:
        path: the file
        columns: the names of the columns
        size: the most rows of a batch

    Raises:
        DataError: the file cannot be read.
    """
    import pyarrow.parquet as pq

    with _reading(path):
        yield from pq.ParquetFile(path).iter_batches(batch_size=size, columns=list(columns))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn pyarrow's errors into one clear sentence."""
    from pyarrow import ArrowException

    try:
        yield
    except (OSError, ValueError, ArrowException) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"{path} cannot be read as a parquet file: {reason}. Download it again."
        ) from error
