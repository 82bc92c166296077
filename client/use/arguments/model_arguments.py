"""The arguments that all commands on a finished model share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedshelf.common.errors import ConfigError

if TYPE_CHECKING:
    from fedshelf.common.inference.predictors.predictor import Predictor

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=(
            "The directory of a run, its model.safetensors, an exported ONNX file, or a release."
            " Several, separated by commas, answer together."
        ),
    ),
]
Photos = Annotated[
    list[Path],
    typer.Argument(
        metavar="PHOTOS", help="Photos, folders of photos, or CSV files with a line IMAGE,LABEL."
    ),
]
Combine = Annotated[
    str,
    typer.Option(
        help="How several models answer together: mean, vote, or a weight for each (0.7,0.3)."
    ),
]
Features = Annotated[
    Path | None,
    typer.Option(
        help="Another model, which makes the embeddings of the index in place of MODEL.",
    ),
]
Familiar = Annotated[
    Path | None,
    typer.Option(
        "--index",
        help="An index of the store's photos: what is not like them is unknown, which guards"
        " better than the model's own threshold.",
    ),
]
DEFAULT_INDEX = Path("shop.index")
UnsureBelow = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Probability below which a photo is unsure; 0.6 by default."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")]


def model_paths(model: str) -> list[Path]:
    """Return the paths that a command's first argument names.

    Args:
        model: paths separated by commas; a path that exists may have commas itself
    """
    if Path(model).exists():
        return [Path(model)]
    return [Path(part.strip()) for part in model.split(",") if part.strip()]


def open_model(model: str, combine: str = "mean", device: str = "auto") -> "Predictor":
    """Return the model or models of a command's first argument.

    Args:
        model: paths separated by commas; a path that exists may have commas itself
        combine: mean, vote, or weights separated by commas
        device: of the computation

    Raises:
        ConfigError: `combine` cannot be understood, or there is no such device.
        DataError: a model cannot be used.
    """
    from fedshelf.common.inference.loading import load_all

    paths = model_paths(model)
    if combine in ("mean", "vote"):
        return load_all(paths, device, "vote" if combine == "vote" else "mean")
    try:
        weights = [float(part) for part in combine.split(",")]
    except ValueError:
        raise ConfigError(
            f"--combine got {combine!r}; expected mean, vote, or a weight for each model, as in"
            " 0.7,0.3."
        ) from None
    if len(paths) == 1:
        raise ConfigError(f"--combine got the weights {combine} for one model; give several.")
    return load_all(paths, device, "mean", weights)


def open_features(
    model: str, features: Path | None, combine: str = "mean", device: str = "auto"
) -> "Predictor":
    """Return the model that makes the embeddings of an index: that of --features, or MODEL.

    Args:
        model: see `open_model`
        features: the model of --features
        combine: see `open_model`
        device: of the computation

    Raises:
        ConfigError: there is no such device.
        DataError: the model cannot be used.
    """
    from fedshelf.common.inference.loading import load

    return open_model(model, combine, device) if features is None else load(features, device)


def open_with_index(
    model: str, index: Path | None, features: Path | None, combine: str, device: str
) -> "Predictor":
    """Return the model, with the familiarity of an index if there is one.

    Args:
        model: see `open_model`
        index: of the store's photos
        features: the model of the index, if it is another one
        combine: see `open_model`
        device: of the computation

    Raises:
        ConfigError: `features` without an index, or see `open_model`.
        DataError: a model or the index cannot be used, or they do not belong together.
    """
    if features is not None and index is None:
        raise ConfigError(f"--features got {features} without --index, whose model it should be.")
    predictor = open_model(model, combine, device)
    if index is None:
        return predictor
    from fedshelf.common.inference.loading import load
    from fedshelf.common.inference.search.familiarity import open_familiarity

    return open_familiarity(predictor, index, None if features is None else load(features, device))
