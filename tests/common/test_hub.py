"""Files of the Hugging Face hub, fetched by its library from a hub on loopback."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.helpers.hub_server import Hub, hub_server

WEIGHTS = np.random.default_rng(0).bytes(13_000_000)  # the library keeps whole pieces of 10 MiB
PROGRAM = """
from fedshelf.common.errors import DataError
from fedshelf.common.hub import snapshot
try:
    print(snapshot("hf:lab/shoes", "model", ("*.safetensors",)))
except DataError as error:
    print(error)
"""


def fetched(hub: Hub, home: Path) -> str:
    usual = {
        key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))
    }
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=usual | own, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_broken_download_goes_on_and_a_damaged_file_is_removed(tmp_path: Path) -> None:
    with hub_server() as hub:
        hub.files = {"model.safetensors": WEIGHTS}
        hub.broken_after = 12_000_000
        folder = Path(fetched(hub, tmp_path / "whole"))
        assert (folder / "model.safetensors").read_bytes() == WEIGHTS
        first, second = hub.ranges
        assert first == ""
        assert second.startswith("bytes=10485760-")

        hub.damaged = True
        told = fetched(hub, tmp_path / "damaged")
        assert told.startswith("The file model.safetensors of hf:lab/shoes came damaged")
        digest = hashlib.sha256(WEIGHTS).hexdigest()
        assert not list((tmp_path / "damaged").rglob(digest))
        hub.damaged = False
        folder = Path(fetched(hub, tmp_path / "damaged"))
        assert (folder / "model.safetensors").read_bytes() == WEIGHTS
