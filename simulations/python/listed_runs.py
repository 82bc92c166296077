"""`fedshelf.runs`: the runs of a folder."""

from os import PathLike
from pathlib import Path

from fedshelf.common.errors import RunError
from fedshelf.server.monitor.run_finder import last_written, run_directories
from fedshelf.simulations.python.simulated_run import SimulatedRun


def list_runs(folder: str | PathLike[str]) -> list[SimulatedRun]:
    """Return all runs in a folder, the newest first.

    Raises:
        RunError: there is none.
    """
    found = sorted(run_directories(Path(folder)), key=last_written, reverse=True)
    if not found:
        raise RunError(
            f"There is no run in {Path(folder).resolve()}; name a folder of run directories."
        )
    return [SimulatedRun(path) for path in found]
