"""Checks of the store's machine (device, memory, disks) and of its policy."""

from collections.abc import Iterator

from fedshelf.client.health.evidence.finding import Finding
from fedshelf.client.health.evidence.gather import Evidence

_GIB = 2**30
# bytes free: a ResNet-18 on batches of 32 photos of 224 pixels takes 1.5
_MIN_GPU_BYTES = 2 * _GIB
_MIN_MEMORY_BYTES = 2 * _GIB  # bytes available: PyTorch and a model of a hundred million numbers
_MIN_DISK_BYTES = _GIB // 5  # bytes: below it not even a model can be kept
_PHOTO_BYTES = 224 * 224 * 3  # bytes of a decoded photo at the usual largest size


def device(evidence: Evidence) -> Iterator[Finding]:
    """Report a GPU that cannot be used, one that others use, or that there is none."""
    machine = evidence.machine
    if machine.device_trouble:
        driver = f" Its driver is version {machine.driver}." if machine.driver else ""
        yield Finding(
            "machine",
            "warning",
            "There is an NVIDIA graphics card that cannot be used:"
            f" {machine.device_trouble}.{driver}",
            "Install NVIDIA's current driver and restart the machine. Until then the store trains"
            " on its processor.",
        )
    elif machine.device_memory and machine.device_memory[0] < _MIN_GPU_BYTES:
        free, total = machine.device_memory
        yield Finding(
            "machine",
            "warning",
            f"Only {format_bytes(free)} of the {format_bytes(total)} of the"
            f" {machine.device_name} are free.",
            "Close other programs that use the graphics card; with too little, training falls back"
            " to small batches.",
        )
    elif machine.device == "cpu":
        yield Finding(
            "machine",
            "note",
            f"There is no graphics card; the store trains on {machine.device_name}.",
            "Small networks train well like that. Large ones take ten to a hundred times as long.",
        )


def memory(evidence: Evidence) -> Iterator[Finding]:
    """Report that little memory is left."""
    if evidence.machine.memory and evidence.machine.memory[0] < _MIN_MEMORY_BYTES:
        available, total = evidence.machine.memory
        yield Finding(
            "machine",
            "warning",
            f"Only {format_bytes(available)} of {format_bytes(total)} of memory are available;"
            f" training needs {format_bytes(_MIN_MEMORY_BYTES)}.",
            "Close other programs before joining.",
        )


def disks(evidence: Evidence) -> Iterator[Finding]:
    """Find too little disk space, or no permission to write, for the pixel cache and for the
    keys.
    """
    needed_bytes = _GIB + len(evidence.photos.usable) * _PHOTO_BYTES
    for disk in evidence.machine.disks:
        if disk.trouble or disk.free < _MIN_DISK_BYTES:
            trouble = disk.trouble or f"only {format_bytes(disk.free)} are free"
            yield Finding(
                "machine",
                "problem",
                f"Nothing can be kept in {disk.path} ({disk.purpose}): {trouble}.",
                "Make room there, or have the folder made writable for the account that runs the"
                " store.",
            )
        elif disk.free < needed_bytes:
            yield Finding(
                "machine",
                "warning",
                f"{format_bytes(disk.free)} are free for {disk.purpose} in {disk.path}; up to"
                f" {format_bytes(needed_bytes)} may be needed.",
                "Make room there; with less, photos are decoded anew in every round, or training"
                " stops.",
            )


def policy(evidence: Evidence) -> Iterator[Finding]:
    """Find a policy that cannot be read: the store would refuse to start."""
    if evidence.policy_error:
        yield Finding(
            "settings",
            "problem",
            evidence.policy_error,
            "Correct the policy; until then the store does not join.",
        )


def format_bytes(count: int) -> str:
    """Format bytes: 3221225472 -> "3.0 GiB", 5242880 -> "5 MiB"."""
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / 2**20:.0f} MiB"
