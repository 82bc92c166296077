"""All who combine updates get the same answer; the command runs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import aggregation, combine

ROOT = Path(__file__).parents[2]


def answer(found: Any) -> list[float]:
    """The combined vector, whatever a system wraps it in."""
    if isinstance(found, tuple | list):
        found = found[0]
    elif hasattr(found, "to_numpy_ndarrays"):
        found = found.to_numpy_ndarrays()[0]
    return torch.as_tensor(found).tolist()


@pytest.mark.parametrize("rule", aggregation.STORES)
def test_all_combine_alike(rule: str) -> None:
    arrays = [np.array(row, np.float32) for row in ([0, 10], [1, 11], [1, 12], [1, 11], [9, 50])]
    systems = [name for name in combine.SYSTEMS if rule == "mean" or name != aggregation.ONLY_MEAN]
    found = {name: answer(combine.SYSTEMS[name](rule, arrays)()) for name in systems}
    # weights 100 to 104 of 510: (0 + 101 + 102 + 103 + 936) / 510 and (1000 + 1111 + 1224 + 1133 +
    # 5200) / 510
    expected = {"mean": [1242 / 510, 9668 / 510], "median": [1, 11], "krum": [1, 11]}[rule]
    for name, values in found.items():
        assert values == pytest.approx(expected, rel=1e-6), name


@pytest.mark.slow
def test_the_command_runs(tmp_path: Path) -> None:
    words = [
        "--times",
        "1",
        "--floats",
        "1000",
        "--rules",
        "krum",
        "--json",
        str(tmp_path / "a.json"),
    ]
    command = [sys.executable, "-m", "benchmarks.aggregation", *words]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=800
    )
    assert done.returncode == 0, done.stderr
    assert "krum of 1,000 parameters" in done.stdout
    assert (tmp_path / "a-krum.json").exists()
