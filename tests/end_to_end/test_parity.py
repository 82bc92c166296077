"""One seed, one result: the same stores in the sequential engine and in Flower's simulation.

As real processes: `tests.end_to_end`, where runs that are disturbed equal simulated ones.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.deployed import free_port
from tests.helpers.simulation_command import run, summary

BIN = Path(sys.executable).parent
SETTINGS = {
    "model.name": "niid-cnn", "run.rounds": 2, "run.seed": 3, "data.image_size": 32, "data.crop": 2,
    "train.lr": 0.02, "train.epochs": 2, "model.dropout": 0.2, "strategy.name": "scaffold",
    "cohort.min_stores": 3, "messages.compression": "top-k",
}  # fmt: skip
ASSIGNMENTS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stores' folders of image files, and test photos."""
    place = tmp_path_factory.mktemp("parity") / "shops"
    split = run(
        "split",
        "--dataset",
        "shelf",
        "--stores",
        "3",
        "--partition",
        "dirichlet:1",
        "--test",
        "--out",
        place,
    )
    assert split.returncode == 0, split.stderr
    return place


@pytest.fixture(scope="module")
def sequential(shops: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("runs") / "sequential"
    done = run("run", "--dataset", shops, "--partition", "folder", *ASSIGNMENTS, "--out", out)
    assert done.returncode == 0, done.stderr
    return summary(out)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """One thread each; what Flower writes and starts is ours, and ended afterwards."""
    home = tmp_path / "flower-home"
    port = free_port()
    yield os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "FLWR_HOME": str(home),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": "local",  # never a cluster that someone else runs on this machine
        "NO_COLOR": "1",
    }
    from tests.helpers.flower_home import end_processes_of

    end_processes_of(home)


@pytest.mark.slow(minutes=1)
def test_flowers_simulation(
    shops: Path, sequential: dict, environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "ray"
    settings = SETTINGS | {
        "data.dataset": str(shops),
        "data.partition": "folder",
        "run.out": str(out),
    }
    flat = " ".join(
        f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}"
        for key, value in settings.items()
    )
    federation = "num-supernodes=3 client-resources-num-cpus=1"
    done = subprocess.run(
        [
            BIN / "flwr",
            "run",
            ".",
            "local",
            "--stream",
            "--run-config",
            flat,
            "--federation-config",
            federation,
        ],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (out / "summary.json").exists(), done.stdout + done.stderr
    assert summary(out)["weights_sha256"] == sequential["weights_sha256"]
    assert summary(out)["test"] == sequential["test"]
