"""Facts about the machine that a store trains on: its device, memory, disks."""

import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from fedshelf.common.images.decoding.parallel import usable_cores
from fedshelf.common.system.files import cache_directory, state_directory

# written by NVIDIA's kernel module while it is loaded
_DRIVER = Path("/proc/driver/nvidia/version")
_MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class Disk:
    """A disk, or a place on it, that the store writes to.

    Attributes:
        free: Bytes.
        trouble: Why it cannot be written to; empty if it can.
    """

    purpose: str
    path: Path
    free: int
    trouble: str = ""


@dataclass(frozen=True)
class Machine:
    """The hardware that trains.

    Attributes:
        device: "cuda", "mps" or "cpu".
        device_name: For a person.
        device_memory: (free, total) bytes of a GPU's own memory, or None.
        device_trouble: Why a GPU that seems to be there cannot be used, or empty.
        driver: Version of NVIDIA's driver, or empty.
        memory: (available, total) bytes, or None if unknown.
    """

    device: str
    device_name: str
    cores: int
    disks: tuple[Disk, ...]
    device_memory: tuple[int, int] | None = None
    device_trouble: str = ""
    driver: str = ""
    memory: tuple[int, int] | None = None


def inspect_machine() -> Machine:
    """Inspect this machine: try the GPU with one small sum, and try to write to the store's
    folders.
    """
    import torch

    from fedshelf.common.system.device import pick_device

    with warnings.catch_warnings(
        record=True
    ) as torch_warnings:  # torch warns of a driver that is too old
        warnings.simplefilter("always")
        device = pick_device("auto").type
        trouble = _gpu_trouble(device, " ".join(str(warning.message) for warning in torch_warnings))
    name = f"{usable_cores()} processor cores"
    free = None
    if device == "cuda":
        name = torch.cuda.get_device_name()
        free = None if trouble else torch.cuda.mem_get_info()
    elif device == "mps":
        name = "Apple GPU"
    disks = (_disk("decoded photos", cache_directory()), _disk("keys and logs", state_directory()))
    return Machine(device, name, usable_cores(), disks, free, trouble, _driver(), _memory())


def _gpu_trouble(device: str, warning_text: str) -> str:
    import torch

    if device != "cuda":
        return (
            (warning_text or "PyTorch does not find it")
            if _DRIVER.exists() or shutil.which("nvidia-smi")
            else ""
        )
    try:
        torch.ones(8, device="cuda").sum().item()
    # a PyTorch that is not built for this GPU, or a GPU whose memory others have filled
    except RuntimeError as error:
        return str(error).partition("\n")[0]
    return ""


def _driver() -> str:
    """Return the version of NVIDIA's driver; empty if there is none.

    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  ..." -> "550.54.15"
    """
    try:
        words = _DRIVER.read_text().split()
    except OSError:
        return ""
    return next((word for word in words if word[:1].isdigit() and "." in word), "")


def _memory() -> tuple[int, int] | None:
    """Return (bytes available without swapping, total bytes); Linux only."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
        return tuple(int(lines[key].split()[0]) * 1024 for key in ("MemAvailable", "MemTotal"))  # type: ignore[return-value]
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _disk(purpose: str, path: Path) -> Disk:
    existing_folder = path
    while not existing_folder.exists() and existing_folder != existing_folder.parent:
        existing_folder = existing_folder.parent
    try:
        free = shutil.disk_usage(existing_folder).free
    except OSError as error:
        return Disk(purpose, path, 0, error.strerror or "unreadable")
    try:
        with tempfile.TemporaryFile(dir=existing_folder):
            return Disk(purpose, path, free)
    except OSError as error:
        return Disk(purpose, path, free, error.strerror or os.strerror(error.errno or 0))
