"""The accuracy of networks for scenes: one store, stores with different shelves, stores alone.

The data set is `shelf-scenes`. In the federation each store has shelves of its own style, with
products of its own designs; the test scenes are of all styles, and no store has their designs.
The model is that of the round that was best on validation scenes, which lie at the stores.
`pooled` is one store with all scenes. A store alone takes as many steps as all stores together
have taken, so that it lacks scenes and not work. Scores are those of the server's test scenes, and
counts are at the score that validation scenes chose. A row has means over the seeds, with their 95%
interval (Student's t); a share is that of the pooled row in the same seed.
"""

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Sample, alternate, measure, values, write
from benchmarks.machine import machine
from fedshelf.simulations.compare.statistics.students_t import quantile
from fedshelf.simulations.datasets.scenes.shelf_scenes import PER_STYLE, STYLES

COMMAND = Path(sys.executable).with_name("flower-simulation")
POOLED, FEDERATED = "pooled", "federated"
STORES = {
    "gondolas": ("gondola",),
    "fridges": ("fridge",),
    "pegboards": ("pegboard",),
    "wood and tables": ("wood", "table"),
}
"""The styles of each store's shelves."""

EPOCHS = 2  # of a round, as in the recipe
LEVEL = 0.95  # probability that an interval holds the mean of all seeds


@dataclass(frozen=True)
class Figure:
    """A column: a figure of a run's summary, shown in percent.

    Attributes:
        title: of the column
        path: keys of `summary.json`
    """

    title: str
    path: tuple[str, ...]


FIGURES = {
    "boxes": (
        Figure("AP50", ("test", "ap_50")),
        Figure("AP75", ("test", "ap_75")),
        Figure("AP", ("test", "ap")),
        Figure("count error", ("counting", "count_share")),
    ),
    "masks": (
        Figure("mean IoU", ("test", "iou")),
        Figure("IoU of products", ("test", "per_class", "product", "iou")),
    ),
}
"""The figures of each task; the first one is compared with that of the pooled row."""


def add_mode(modes: Any) -> None:
    """Add `learn` to the modes of a command line."""
    mode = modes.add_parser(
        "learn",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="accuracy: pooled, federated, stores alone",
    )
    mode.add_argument("--task", default="boxes", choices=FIGURES)
    mode.add_argument("--seeds", default="0,1,2", help="of the runs; default 0,1,2")
    mode.add_argument("--only", default="", metavar="ROWS", help="rows whose names begin so")
    mode.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of all runs")
    mode.add_argument("--json", type=Path, metavar="FILE", help="write the raw results there, too")
    mode.set_defaults(measure=compare)


def compare(options: argparse.Namespace) -> None:
    """Run everything, and print a table."""
    seeds = [int(seed) for seed in options.seeds.split(",")]
    wanted = tuple(options.only.split(","))
    samples: dict[str, list[Sample]] = {}
    for seed in seeds:
        rows = {
            name: contestant
            for name, contestant in contestants(options.task, seed, options.set).items()
            if name.startswith(wanted)
        }
        for name, of_seed in alternate(rows, 1).items():
            samples.setdefault(name, []).extend(of_seed)
    show(options.task, samples, seeds)
    settings = {"task": options.task, "seeds": seeds, "set": options.set}
    write(options.json, "scene_learning", settings, samples)


def contestants(task: str, seed: int, given: Sequence[str]) -> dict[str, "partial[Sample]"]:
    """Return the rows of one seed: name -> a function that runs it.

    Args:
        task: a key of `FIGURES`
        seed: of the runs
        given: settings of all runs, KEY=VALUE
    """
    parts = {name: positions(styles) for name, styles in STORES.items()}
    scenes = [place for part in parts.values() for place in part]
    rows = {
        POOLED: partial(run, task, seed, [scenes], EPOCHS, given),
        FEDERATED: partial(run, task, seed, list(parts.values()), EPOCHS, given),
    }
    for name, part in parts.items():
        epochs = round(EPOCHS * len(scenes) / len(part))
        rows[f"{name} alone"] = partial(run, task, seed, [part], epochs, given)
    return rows


def positions(styles: Sequence[str]) -> list[int]:
    """Return the places of training scenes of some styles in the data set."""
    count = PER_STYLE["train"]
    places = [STYLES.index(style) * count for style in styles]
    return [place for first in places for place in range(first, first + count)]


def run(
    task: str, seed: int, stores: Sequence[Sequence[int]], epochs: int, given: Sequence[str]
) -> Sample:
    """Run `flower-simulation run` with the recipe of a task; return its figures in percent.

    Args:
        task: a key of `FIGURES`
        seed: of the run
        stores: the training scenes of each
        epochs: of a round
        given: further settings, KEY=VALUE
    """
    with tempfile.TemporaryDirectory() as folder:
        partition, out = Path(folder, "stores.json"), Path(folder, "run")
        partition.write_text(json.dumps(list(map(list, stores))), encoding="utf-8")
        settings = [
            f"train.objective={task}", "data.holdout=0.1", "run.workers=1",
            f"train.epochs={epochs}", f"run.seed={seed}", *given,
        ]  # fmt: skip
        words = [word for setting in settings for word in ("--set", setting)]
        began = cpu_seconds()
        measure(
            [
                COMMAND, "run", "--dataset", "shelf-scenes", "--stores", str(len(stores)),
                "--partition", f"file:{partition}", "--out", out, *words,
            ],
            history=out / "history.jsonl",
        )  # fmt: skip
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    figures: dict[str, float | None] = {"cpu": cpu_seconds() - began}
    for figure in FIGURES[task]:
        value: Any = summary
        for key in figure.path:
            value = value[key]
        figures[figure.title] = 100 * value
    return figures


def cpu_seconds() -> float:
    """Return the processor time of all processes that have been waited for, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(task: str, samples: Mapping[str, Sequence[Sample]], seeds: Sequence[int]) -> None:
    """Print a row for each contestant: means over the seeds with their interval, in percent."""
    first = FIGURES[task][0].title
    table = Table(title=f"shelf-scenes, {task}, seeds {seeds}", title_justify="left")
    table.add_column("")
    for figure in FIGURES[task]:
        table.add_column(figure.title, justify="right")
    table.add_column(f"share of pooled {first}", justify="right")
    table.add_column("CPU s", justify="right")
    for name, row in samples.items():
        shares = [
            100 * ours / pooled
            for ours, pooled in zip(
                values(row, first), values(samples.get(POOLED, ()), first), strict=False
            )
        ]
        cells = [interval(values(row, figure.title)) for figure in FIGURES[task]]
        table.add_row(name, *cells, interval(shares), f"{fmean(values(row, 'cpu')):.0f}")
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print(" · ".join(machine().values()), highlight=False)


def interval(numbers: Sequence[float]) -> str:
    """Return a mean and half the width of its interval; of one number, itself alone.

    >>> interval([1.0, 2.0, 3.0])
    '2.0 ± 2.5'
    """
    if len(numbers) < 2:
        return f"{numbers[0]:.1f}" if numbers else "-"
    t = quantile((1 + LEVEL) / 2, len(numbers) - 1)
    return f"{fmean(numbers):.1f} ± {t * stdev(numbers) / sqrt(len(numbers)):.1f}"
