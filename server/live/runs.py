"""Finds the run that a person means when they name none."""

from pathlib import Path

from common.errors import RunError

_TOUCHED = ("flower/events.jsonl", "flower/began.json", "history.jsonl", "summary.json", "config.toml")


def find(run: Path | None, runs: Path = Path("runs")) -> Path:
    """The run directory `run`, or the one below `runs` that was written to last. Raises RunError if there is none."""
    if run is not None:
        if not (run / "config.toml").is_file():
            raise RunError(f"There is no run in {run}: it has no config.toml; name a run directory, such as runs/NAME.")
        return run
    found = [path.parent for path in runs.glob("*/config.toml")]
    if not found:
        raise RunError(f"There is no run below {runs.resolve()}; name its directory, or start one.")
    return max(found, key=lambda path: (_touched(path), path))


def _touched(run: Path) -> float:
    times = [path.stat().st_mtime for name in _TOUCHED if (path := run / name).exists()]
    return max(times, default=0.0)
