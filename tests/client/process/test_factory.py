"""The share of a GPU's memory that a store's worker may use."""

import subprocess
import sys

import pytest
import torch

HALF = """
import torch
from fedshelf.client.process.factory import limit_gpu_memory
limit_gpu_memory(torch.device("cuda"), 0.5)
total = torch.cuda.get_device_properties(0).total_memory
torch.empty(int(0.3 * total), dtype=torch.uint8, device="cuda")
try:
    torch.empty(int(0.6 * total), dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError:
    print("refused")
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_beyond_its_share_a_worker_gets_no_memory() -> None:
    done = subprocess.run([sys.executable, "-c", HALF], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
