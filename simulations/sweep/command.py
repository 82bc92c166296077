"""The command `flower-simulation sweep`, from settings to `results.json` and `report.html`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from fedshelf.common.config import EvaluationConfig
from fedshelf.common.errors import RunError
from fedshelf.common.images.decoding.parallel import usable_cores
from fedshelf.common.metrics import formulas
from fedshelf.common.metrics.formulas.metric import Better
from fedshelf.common.system.device import pick_device
from fedshelf.common.system.files import write_json
from fedshelf.common.wording import format_count
from fedshelf.server.operations.listing_output import print_table
from fedshelf.server.results.run_directory import RunDirectory, free_name
from fedshelf.simulations.sweep import page
from fedshelf.simulations.sweep.execution import Processes, SweptRun
from fedshelf.simulations.sweep.halving import rungs
from fedshelf.simulations.sweep.outcome import (
    PointResult,
    deviation,
    rank,
    read_result,
    read_tests,
)
from fedshelf.simulations.sweep.request import SweepRequest
from fedshelf.simulations.sweep.words import figure_name, format_score, headline

RESULTS_FILE = "results.json"


def sweep(
    request: SweepRequest, out: Path | None, jobs: int, console: Console, *, resume: bool
) -> dict[str, Any]:
    """Carry out a sweep, or go on with it, and write its results.

    Args:
        request: points and seeds
        out: directory of the sweep; None: a new one below `runs`
        jobs: runs at a time; 0: one for each processor core, or for each GPU
        console: gets a line for each run, the table and the choice
        resume: whether the directory holds this sweep already

    Returns:
        The content of `results.json`.

    Raises:
        FedshelfError: settings, data or directory cannot be used, all runs failed, or the person
            asked for an end.
    """
    request.check()
    config = request.config(0, request.seeds[0])
    metric = config.evaluation.metric
    way = _better(config.evaluation)
    directory = out or free_name(Path("runs") / "sweep")
    if not resume:
        RunDirectory.check_new(directory)
        directory.mkdir(parents=True, exist_ok=True)
        request.write(directory)
    results = [PointResult(request.label(point)) for point in range(len(request.points))]
    devices = _devices(config.run.device, jobs, len(request.points) * len(request.seeds))
    survivors = _carry_out(request, directory, devices, results, console)
    best = rank(results, way, survivors)
    if not best:
        raise RunError(
            f"No point has a result: {_first_failure(results)} The output of each run is in"
            f" {directory / 'runs'}."
        )
    chosen = best[0]
    tests = read_tests(
        {seed: _directory(directory, chosen, seed) for seed in request.seeds}, metric
    )
    outcome = {
        "metric": metric,
        "seeds": request.seeds,
        "halving": request.halving,
        "points": [result.to_json() for result in results],
        "order": [*best, *(p for p in rank(results, way, range(len(results))) if p not in best)],
        "chosen": chosen,
        "test": {
            "values": list(tests.values()),
            "mean": sum(tests.values()) / len(tests) if tests else None,
            "deviation": deviation(list(tests.values())),
        },
    }
    write_json(directory / RESULTS_FILE, outcome)
    page.write(directory, outcome, results)
    _print(outcome, results, console)
    console.print(
        f"Report: {directory / 'report.html'}", markup=False, highlight=False, soft_wrap=True
    )
    return outcome


def _better(evaluation: EvaluationConfig) -> Better:
    """Return whether a higher or a lower score is better.

    A task may count metrics that its settings do not name, so all that are known are looked at.

    Raises:
        ConfigError: nothing that is known here has such a score
    """
    return formulas.better(evaluation.metric, [*formulas.METRICS, *evaluation.metrics])


def _carry_out(
    request: SweepRequest,
    directory: Path,
    devices: Sequence[str],
    results: list[PointResult],
    console: Console,
) -> list[int]:
    """Carry out all runs, rung by rung, and return the points of the last rung."""
    config = request.config(0, request.seeds[0])
    metric = config.evaluation.metric
    way = _better(config.evaluation)
    rounds = config.run.rounds
    ladder: Sequence[tuple[int, int | None]] = (
        rungs(len(results), rounds) if request.halving else [(len(results), None)]
    )
    survivors = list(range(len(results)))
    for rung, (count, length) in enumerate(ladder):
        if rung:
            survivors = sorted(rank(results, way, survivors)[:count])
        runs = [
            SweptRun(
                point,
                seed,
                length,
                _settings(request, point, len(devices)),
                _directory(directory, point, seed),
            )
            for point in survivors
            for seed in request.seeds
        ]

        def note(run: SweptRun, error: str) -> None:
            result = results[run.point]
            if error:
                result.failed[run.seed] = error
                words = f"failed: {error}"
            else:
                result.runs[run.seed] = read_result(run, metric)
                score = format_score(result.runs[run.seed].score, metric)
                words = f"{score} on validation images"
            console.print(
                f"{result.label or 'all settings as given'}, seed {run.seed}: {words}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

        if request.halving:
            console.print(
                f"{format_count(len(survivors), 'point')}, up to round {length}.",
                markup=False,
                highlight=False,
            )
        Processes(devices).carry_out(runs, note)
    return survivors


def _devices(wanted: str, jobs: int, runs: int) -> list[str]:
    """Return the device of each run that may be at work at a time.

    Args:
        wanted: the setting run.device
        jobs: as asked for; 0: one for each processor core, or for each GPU
        runs: number of runs
    """
    device = pick_device(wanted)
    places = [str(device)]
    if device.type == "cuda" and device.index is None:
        places = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    cores = usable_cores() if device.type == "cpu" else 1
    count = min(jobs or max(cores, len(places)), runs)
    return [places[index % len(places)] for index in range(count)]


def _settings(request: SweepRequest, point: int, jobs: int) -> dict[str, str]:
    """Return a run's settings; runs side by side use one process each, unless others are given."""
    single = {"run.workers": "1"} if jobs > 1 else {}
    return {**single, **request.settings, **request.points[point]}


def _directory(sweep: Path, point: int, seed: int) -> Path:
    return sweep / "runs" / f"point-{point + 1:03}-seed-{seed}"


def _first_failure(results: Sequence[PointResult]) -> str:
    return next((text for result in results for text in result.failed.values()), "")


def _print(outcome: Mapping[str, Any], results: Sequence[PointResult], console: Console) -> None:
    rows = []
    for position in outcome["order"]:
        result = results[position]
        rows.append(
            [
                "*" if position == outcome["chosen"] else "",
                result.label,
                format_score(result.mean, outcome["metric"]),
                format_score(result.deviation, outcome["metric"]),
                str(len(result.runs)),
                str(result.rounds),
            ]
        )
    failed = [result for result in results if result.failed]
    rows += [["", result.label, "failed", "", str(len(result.runs)), ""] for result in failed]
    columns = (
        "",
        "point",
        f"validation {figure_name(outcome['metric'])}",
        "deviation",
        "runs",
        "rounds",
    )
    print_table(columns, rows, numbers=columns[2:])
    for sentence in headline(outcome, [result.label for result in results]):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
