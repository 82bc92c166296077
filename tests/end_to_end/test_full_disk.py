"""A store whose disk is full: the others go on without it, it says why, and it takes part again
when there is room.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.deployed import draw_photos, free_port, history, wait_for
from tests.helpers.deployment_fixtures import Starter

pytestmark = pytest.mark.slow(minutes=0.5)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a file system of its own needs root")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_costs_its_store_rounds_and_nobody_else(
    command: Starter, folders: dict[str, Path], small_disk: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    port = free_port()
    other = command.store(folders["mitte"], port)
    poor = Starter(command.environment | {"FEDSHELF_HOME": str(small_disk)})
    full = poor.store(draw_photos(tmp_path / "full", ["boot", "hat"]), port)
    try:
        settings = ["--stores", "2", "--rounds", "400", "--set", "cohort.min_stores=1"]
        server = command.server(out, port, *settings)
        server.says("round=2/400")
        wait_for(
            lambda: any({"mitte", "full"} <= record["stores"].keys() for record in history(out))
        )
        waste = small_disk / "waste"
        with pytest.raises(OSError, match="No space left"):
            waste.write_bytes(bytes(4 * 2**20))
        wait_for(
            lambda: (
                "disk-full"
                in {record["failed"].get("full", {}).get("code") for record in history(out)}
            )
        )
        assert "cannot be written" in full.text
        waste.unlink()
        done = len(history(out))
        wait_for(lambda: any("full" in record["stores"] for record in history(out)[done:]))
        assert full.process.poll() is None
        assert other.process.poll() is None
        server.interrupt()
        assert server.ends() == 130
    finally:
        full.kill()
