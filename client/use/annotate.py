"""`flower-client annotate`, `undo` and `corrections`: photos sorted, labelled and read back."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedshelf.client.use.arguments.model_arguments import (
    Combine,
    Device,
    Model,
    Photos,
    UnsureBelow,
    open_model,
)
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count

if TYPE_CHECKING:
    from fedshelf.common.images.listing.folder_entries import LeftOut
    from fedshelf.common.inference.labelling.guesses import Guess
    from fedshelf.common.inference.predictors.predictor import Predictor

FOLDERS = "folders"
_FORMAT_NAMES = (FOLDERS, "coco", "yolo", "label-studio", "cvat", "csv")


def annotate(
    model: Model,
    photos: Photos,
    out: Annotated[Path, typer.Option(help="Folder for the result; it is made if need be.")],
    label_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="|".join(_FORMAT_NAMES),
            help=(
                "Class folders (the default), or a file that a labelling tool opens. With --ask"
                " the default is csv."
            ),
        ),
    ] = None,
    move: Annotated[
        bool,
        typer.Option(
            "--move", help="Move the photos into the class folders instead of linking to them."
        ),
    ] = False,
    ask: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=(
                "Take only so many photos: those whose label teaches the model most, as it is"
                " unsure of them and they are unlike each other."
            ),
        ),
    ] = None,
    unsure_below: UnsureBelow = None,
    combine: Combine = "mean",
    device: Device = "auto",
) -> None:
    """Sort photos into class folders, or write guesses for a labelling tool.

    Photos of which the model is not sure go to unlabelled/unsure and unlabelled/unknown. Links are
    made; where the disk has none, copies. Nothing is overwritten, and `flower-client undo` takes
    all of it back.
    """
    name = label_format or (FOLDERS if ask is None else "csv")
    if name not in _FORMAT_NAMES:
        raise ConfigError(f"--format got {name!r}; expected one of {', '.join(_FORMAT_NAMES)}.")
    if move and (name != FOLDERS or ask is not None):
        raise ConfigError("--move sorts all photos into class folders: give no --format or --ask.")
    _check_place(out, photos, name, may_have_photos=move)
    predictor = open_model(model, combine, device)
    left_out: LeftOut = []
    guesses = _guesses(predictor, photos, ask, unsure_below, left_out)
    if name == FOLDERS:
        _sort(guesses, predictor.description.classes, out, left_out, move=move)
    else:
        from fedshelf.common.inference.labelling.formats import FORMATS

        for file in FORMATS[name].write(out, guesses, predictor.description.classes):
            typer.echo(printable(file))
    _tell(guesses, left_out)


def undo(
    list_file: Annotated[
        Path, typer.Argument(metavar="LIST", help="The file undo-....jsonl that annotate wrote.")
    ],
) -> None:
    """Undo what annotate did: photos that were moved go back, links and copies are removed."""
    from fedshelf.common.inference.labelling.placements import undo as undo_list

    outcome = undo_list(list_file)
    typer.echo(f"{format_count(outcome.done, 'photo')} back in place.", err=True)
    if outcome.left_out:
        for path, reason in outcome.left_out:
            typer.echo(f"{printable(path)}: {reason}", err=True)
        raise DataError(
            f"{format_count(len(outcome.left_out), 'photo')} could not be put back, as said above;"
            f" the list stays: {list_file}."
        )


def corrections(
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=(
                "What a person labelled: JSON of Label Studio or COCO, XML of CVAT, CSV, or a YOLO"
                " folder."
            ),
        ),
    ],
    photos: Annotated[Path, typer.Option(help="Folder of the photos, at any depth.")],
    out: Annotated[Path, typer.Option(help="CSV file to write: a line IMAGE,LABEL per photo.")],
) -> None:
    """Turn the labels that a person gave in a labelling tool into training data.

    The CSV file can be used wherever a folder of photos can: flower-client join --data train.csv.
    """
    from fedshelf.common.images.folder.left_out import format_left_out
    from fedshelf.common.inference.labelling.corrections import NO_LABEL, find_photos, write_table
    from fedshelf.common.inference.labelling.formats import FORMATS, recognize_format

    if out.exists():
        raise ConfigError(f"{out} exists, and nothing is overwritten; give another --out.")
    left_out: LeftOut = []
    named = FORMATS[recognize_format(labels)].read(labels)
    labelled = find_photos(named, photos, left_out)
    if not labelled:
        raise DataError(
            f"{labels} labels no photo of {photos} ({format_left_out(left_out) or 'it is empty'});"
            " expected labels that a person gave."
        )
    write_table(out, labelled)
    for label, count in sorted(Counter(photo.label for photo in labelled).items()):
        typer.echo(f"{printable(label)}: {count}")
    typer.echo(f"{format_count(len(labelled), 'photo')} with labels: {out}", err=True)
    others = [one for one in left_out if one[1] != NO_LABEL]
    if unlabelled := len(left_out) - len(others):
        typer.echo(f"{format_count(unlabelled, 'photo')} without a label.", err=True)
    if others:
        typer.echo(f"Left out: {format_left_out(others)}.", err=True)


def _check_place(out: Path, photos: Sequence[Path], name: str, *, may_have_photos: bool) -> None:
    """Refuse a place in which something would be lost, doubled or taken for new photos later."""
    from fedshelf.common.inference.labelling.formats import FORMATS

    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out got {out}, which is a file; expected a folder.")
    for folder in photos:
        if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"--out got {out}, which lies in {folder}: the next time its photos would be taken"
                " for new ones. Give a folder elsewhere."
            )
    if name == FOLDERS:
        if not may_have_photos and out.is_dir() and any(out.iterdir()):
            raise ConfigError(
                f"{out} is not empty, and a photo sorted twice could get two classes. Give a new"
                " folder, or take back what is in it with flower-client undo."
            )
    elif there := [output for output in FORMATS[name].outputs if (out / output).exists()]:
        raise ConfigError(
            f"{out / there[0]} exists, and nothing is overwritten; give another --out."
        )


def _guesses(
    predictor: "Predictor",
    paths: Sequence[Path],
    ask: int | None,
    unsure_below: float | None,
    left_out: "LeftOut",
) -> list["Guess"]:
    """Return the guesses at all photos, or at the `ask` ones that are worth a person's time."""
    import numpy as np

    from fedshelf.client.use.arguments.progress import photo_progress
    from fedshelf.common.images.folder.left_out import format_left_out
    from fedshelf.common.inference.labelling.asking import worth_asking
    from fedshelf.common.inference.labelling.guesses import Guess
    from fedshelf.common.inference.predictors.photos import (
        distinct,
        list_photos,
        predict_photos,
    )
    from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW, verdicts

    classes = predictor.description.classes
    limit = UNSURE_BELOW if unsure_below is None else unsure_below
    found = distinct(list_photos(paths, left_out))
    guesses: list[Guess] = []
    known = []  # for `ask`: of photos that are like something known
    with photo_progress(len(found)) as done:
        for photos, pixels, predictions in predict_photos(predictor, found, left_out, done):
            best = predictions.probabilities.argmax(axis=1)
            for row, verdict in enumerate(verdicts(predictions, pixels, limit)):
                probabilities = predictions.probabilities[row]
                guesses.append(
                    Guess(
                        photos[row].name,
                        photos[row].path,
                        verdict,
                        classes[best[row]],
                        float(probabilities[best[row]]),
                    )
                )
                if ask is not None and verdict != "unknown":
                    known.append((len(guesses) - 1, probabilities, predictions.embeddings[row]))
    if not guesses:
        raise DataError(
            f"No photo could be read ({format_left_out(left_out) or 'there is none'}); expected"
            " JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC files."
        )
    if ask is None:
        return guesses
    if not known:
        raise DataError("No photo is like anything that the model knows, so there is none to ask.")
    indices, probabilities, embeddings = zip(*known, strict=True)
    return [
        guesses[indices[index]]
        for index in worth_asking(np.stack(probabilities), np.stack(embeddings), ask)
    ]


def _sort(
    guesses: Sequence["Guess"],
    classes: Sequence[str],
    out: Path,
    left_out: "LeftOut",
    *,
    move: bool,
) -> None:
    """Put photos into class folders and print how many are in each."""
    from fedshelf.common.inference.labelling.class_folders import folder_names, plan
    from fedshelf.common.inference.labelling.placements import carry_out, linking, write_list

    if move:
        left_out += [(one.name, "a link, not moved") for one in guesses if one.path.is_symlink()]
        guesses = [one for one in guesses if not one.path.is_symlink()]
    placements = plan(guesses, classes, out, "move" if move else linking(out))
    list_file = write_list(placements, out)
    typer.echo(f"To take it back: flower-client undo {list_file}", err=True)
    outcome = carry_out(placements)
    left_out += outcome.left_out
    failed = {path for path, _ in outcome.left_out}
    counts = Counter(one.target.parent for one in placements if str(one.source) not in failed)
    for folder, count in sorted(counts.items()):
        typer.echo(f"{printable(folder)}: {count}")
    for name, folder_name in folder_names(classes).items():
        if name != folder_name and counts[out.absolute() / folder_name]:
            typer.echo(
                f"The class {name} is in {folder_name}: its own name can be no folder here.",
                err=True,
            )


def _tell(guesses: Sequence["Guess"], left_out: "LeftOut") -> None:
    """Tell on stderr how sure the model was."""
    from fedshelf.common.images.folder.left_out import format_left_out

    counts = Counter(guess.verdict for guess in guesses)
    typer.echo(
        f"{format_count(len(guesses), 'photo')}: {counts['sure']} sure, {counts['unsure']} unsure,"
        f" {counts['unknown']} unknown.",
        err=True,
    )
    if left_out:
        typer.echo(f"Left out: {format_left_out(left_out)}.", err=True)
