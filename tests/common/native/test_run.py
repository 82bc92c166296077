"""A run with the compiled operations and one without them, as a user has them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.simulation_command import run_process, summary

# A small step keeps rounding errors small: at usual rates they grow tenfold every ten steps,
# whatever computes them.
SETTINGS = [
    "--dataset",
    "shelf",
    "--stores",
    "3",
    "--rounds",
    "2",
    "--lr",
    "0.002",
    "--set",
    "data.flip=false",
]


@pytest.mark.slow
def test_without_a_compiler_a_run_says_so_and_learns_the_same(tmp_path: Path) -> None:
    compiled = tmp_path / "compiled"
    plain = tmp_path / "plain"
    with_compiler = run_process("run", *SETTINGS, "--out", compiled)
    without = run_process("run", *SETTINGS, "--out", plain, env={"CC": "/nowhere/cc"})
    assert with_compiler.returncode == without.returncode == 0
    assert "No C compiler" not in with_compiler.stdout
    assert "No C compiler (cc, gcc or clang) was found" in " ".join(without.stdout.split())
    one, other = (
        torch.cat([t.flatten() for t in load_file(o / "model.safetensors").values()])
        for o in (compiled, plain)
    )
    assert 0 < float((one - other).norm() / other.norm()) < 1e-3
    assert abs(summary(compiled)["test"]["accuracy"] - summary(plain)["test"]["accuracy"]) < 0.02
