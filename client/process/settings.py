"""Settings that a person gives a store when it joins."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Settings of one store.

    store:  its name
    data:   folder of photos, one sub-folder per class, or a CSV file of them
    device: auto, cpu, mps, cuda or cuda:N
    """

    store: str
    data: Path
    device: str = "auto"
