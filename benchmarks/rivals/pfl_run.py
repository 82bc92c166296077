"""Start pfl-research's simulation, in one process or distributed by pfl over several, with gloo.

The processes meet in a file: pfl's way, a TCP store, would listen on every interface of the
machine.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import protocol
import torch

RANK = "BENCHMARK_PFL_RANK"
MEETING = "BENCHMARK_PFL_MEETING"


def join(processes: int, rank: int) -> None:
    """Let pfl's distributed context meet in a file; it is made when pfl is imported.

    Args:
        processes: number of processes
        rank: number of this one, from 0
    """
    torch.set_num_threads(1)
    begin = torch.distributed.init_process_group
    meeting = f"file://{os.environ[MEETING]}"
    torch.distributed.init_process_group = lambda backend, **_: begin(
        backend, init_method=meeting, rank=rank, world_size=processes
    )
    os.environ |= {
        "PFL_WORKER_RANK": str(rank),
        "PFL_WORKER_ADDRESSES": ",".join(["localhost:1"] * processes),
    }


def spawn(processes: int) -> int:
    """Run this script once for each process, with its rank; return the worst exit code."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = {MEETING: str(Path(folder) / "meeting"), "GLOO_SOCKET_IFNAME": "lo"}
        command = [sys.executable, __file__, json.dumps(vars(protocol.work()))]
        ranks = [
            subprocess.Popen(
                command,
                env=os.environ | meeting | {RANK: str(rank)},
                stdout=subprocess.DEVNULL if rank else None,
            )
            for rank in range(processes)
        ]
        return max(abs(rank.wait()) for rank in ranks)


def main() -> None:
    """Simulate, in this process or in several."""
    task = protocol.work()
    os.environ["PFL_PYTORCH_DEVICE"] = task.device
    if task.processes > 1 and RANK not in os.environ:
        sys.exit(spawn(task.processes))
    rank = int(os.environ.get(RANK, "0"))
    if task.processes > 1:
        join(task.processes, rank)
    from pfl_simulation import simulate

    simulate(task, rank)


if __name__ == "__main__":
    main()
