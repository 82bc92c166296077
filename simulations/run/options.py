"""Options that commands of `flower-simulation` share.

Only light modules are imported here: --help must be quick.
"""

from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[
    str | None,
    typer.Option(
        help=(
            "shelf, cifar10, fashion-mnist, a folder of photos or parquet files, a CSV file of"
            " image,label, or OWNER/NAME at Hugging Face."
        )
    ),
]
Stores = Annotated[int | None, typer.Option(help="Stores to split the data set over.")]
Partition = Annotated[
    str | None,
    typer.Option(
        help=(
            "iid, dirichlet:ALPHA, shards:K, labels:K, quantity:ALPHA, or folder (each sub-folder"
            " is a store)."
        )
    ),
]
MergeSpellings = Annotated[
    bool | None,
    typer.Option(
        "--merge-spellings",
        help="Take class names that differ in case, spaces or Unicode form for one.",
    ),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="CSV of folder,name: what reports call the classes; the classes stay the same.",
    ),
]
Rounds = Annotated[int | None, typer.Option(help="Rounds of training.")]
CohortShare = Annotated[float | None, typer.Option(help="Share of the stores sampled for a round.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over a store's images per round.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per step.")]
LearningRate = Annotated[float | None, typer.Option(help="Learning rate of the first round.")]
Model = Annotated[str | None, typer.Option(help="A network, as for run.")]
Strategy = Annotated[str | None, typer.Option(help="A federated algorithm, as for run.")]
Seed = Annotated[int | None, typer.Option(help="The one number all randomness derives from.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")]
Out = Annotated[
    Path | None, typer.Option(help="Directory to write; by default a new one below runs/.")
]
Settings = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file of settings; flags and --set win over it."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any setting, for example train.momentum=0.5; may be given again.",
    ),
]
