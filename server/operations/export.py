"""The command `export` of the server and of the simulation.

Nothing heavy is imported here: --help must be quick.
"""

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[
    Path, typer.Argument(help="Run directory, or the name of a run; the run may be unfinished.")
]
Which = Annotated[
    str, typer.Option("--round", metavar="N|best|last", help="Round whose model is exported.")
]
Out = Annotated[
    Path | None, typer.Option(help="New folder for the model; by default round-N in RUN.")
]


def export(run: Run, which: Which, out: Out = None) -> None:
    """Write the model of any round that has a checkpoint, not only of the delivered one."""
    from fedshelf.server.monitor.run_finder import find_run

    path = find_run(run)
    from fedshelf.server.results.past_rounds import export_round  # loads torch

    exported = export_round(path, which, out)
    print(
        f"The model of round {exported.round} of {exported.rounds}, {exported.because}:"
        f" {exported.path}"
    )
    if exported.test is None:
        print("This round was not evaluated on test images, so its model.json has no test results.")
    else:
        print(f"{exported.test:.1%} accuracy on test images.")
    if not exported.is_calibrated:
        print(
            "No temperature was fitted for this round: its confidences are not calibrated"
            " (temperature 1)."
        )
