"""`flower-client export-onnx`: a finished model for programs without PyTorch."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedshelf.client.use.arguments.model_arguments import Model, open_model
from fedshelf.common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from onnx import ModelProto

    from fedshelf.common.images.decoding.decode import PixelFormat
    from fedshelf.common.images.listing.folder_entries import LeftOut
    from fedshelf.common.inference.export.comparison import Comparison
    from fedshelf.common.inference.predictors.onnx_predictor import OnnxPredictor
    from fedshelf.common.inference.predictors.predictor import Pixels
    from fedshelf.common.inference.predictors.torch_predictor import TorchPredictor
    from fedshelf.common.models.spec import Output

_CALIBRATION_PHOTOS = 200  # more change the ranges of values little
_PIPE_WIDTH = 200  # characters, in a file or a pipe: one line per row
_HEADERS = ("file", "size", "CPU a photo", "agreement", "accuracy", "p", "")

TorchExport = Annotated[
    Path | None, typer.Option(help="Write the program of torch.export to this file, too (.pt2).")
]


@dataclass
class _Candidate:
    """A file that may be written.

    Attributes:
        path: where
        content: bytes of the file
        predictor: of the content
        comparison: with the model that is exported
        must_be_faster: whether it is worth nothing if it is not faster than the first file
        milliseconds: CPU time for a photo; nan: not measured yet
        reason: why it is not written; None: it is
    """

    path: Path
    content: bytes
    predictor: "OnnxPredictor"
    comparison: "Comparison"
    must_be_faster: bool = False
    milliseconds: float = float("nan")
    reason: str | None = None


def export_onnx(
    model: Model,
    out: Annotated[Path, typer.Option(help="The file to write; it ends in .onnx.")],
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            help=(
                "Photos on which the exported model must predict like the original; folders named"
                " like the classes tell their accuracy, too. Several: repeat the option. Without"
                " it, some pictures are drawn."
            )
        ),
    ] = None,
    half: Annotated[
        bool,
        typer.Option("--half", help="Write a file with weights of 16 bits, too: NAME.half.onnx."),
    ] = False,
    int8: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Photos to calibrate arithmetic on 8 bits, as those of training. NAME.int8.onnx is"
                " written if it is faster and as good."
            )
        ),
    ] = None,
    torch_export: TorchExport = None,
) -> None:
    """Write a model as one ONNX file: photos of any size in, calibrated probabilities out.

    Of a locator: maps of boxes out; of a mask network: probabilities of pixels.

    Nothing is written unless the file predicts like the model. Smaller files are written only
    where they pay; a table says what each is worth.
    """
    _check_names(out, torch_export)
    if int8 is not None and not photos:
        raise ConfigError(
            "--int8 needs labelled photos to judge the result: --photos FOLDER, with a folder for"
            " each class."
        )
    from fedshelf.common.inference.export.onnx_file import check_parity, drawn_photos, make_graph
    from fedshelf.common.models.weights import file_sha256
    from fedshelf.common.names import WEIGHTS_FILE

    weights = Path(model) / WEIGHTS_FILE if Path(model).is_dir() else Path(model)
    kind = _kind(weights)
    if kind in ("boxes", "masks"):
        if half or int8 or torch_export or (photos and kind == "boxes"):
            raise ConfigError(_as_it_is(weights, kind))
        _export_scene_model(weights, kind, out, photos or [])
        return
    predictor = _torch_predictor(model)
    graph = make_graph(predictor, file_sha256(weights))
    files = [_candidate(out, graph, predictor)]
    check_parity(predictor, files[0].content, drawn_photos(predictor.description))
    if half or int8 is not None:
        files += _smaller(out, graph, predictor, half=half, calibration=int8)
    _compare(files, predictor, photos or [])
    _write(files)
    if torch_export is not None:
        from fedshelf.common.inference.export.torch_program import write_program

        write_program(predictor, torch_export)
        typer.echo(f"Written: {torch_export}", err=True)


def _kind(weights: Path) -> "Output | None":
    """Return the kind of a model's result; None for what is no model, which fails later."""
    from fedshelf.common import models
    from fedshelf.common.models import saved

    try:
        return models.output_of(saved.read(weights).spec.name)
    except DataError:
        return None


def _as_it_is(weights: Path, kind: "Output") -> str:
    """Return why a model of scenes takes no such options."""
    what, more = ("locator", "--photos, ") if kind == "boxes" else ("mask network", "")
    return (
        f"The model in {weights} is a {what}, which is exported as it is: leave out {more}--half,"
        " --int8 and --torch-export."
    )


def _locator(weights: Path) -> bytes:
    """Return the ONNX file of a locator. Raises ConfigError, DataError."""
    from fedshelf.common.inference.export.locator_file import export_locator
    from fedshelf.common.inference.loading import load_locator
    from fedshelf.common.inference.locators.torch_locator import TorchBoxPredictor
    from fedshelf.common.models.weights import file_sha256

    locator = load_locator(weights, "cpu")
    assert isinstance(locator, TorchBoxPredictor)
    return export_locator(locator, file_sha256(weights))


def _mask_network(weights: Path, paths: list[Path]) -> bytes:
    """Return the ONNX file of a mask network. Raises ConfigError, DataError.

    Args:
        weights: the model
        paths: photos on which the file must give the same masks
    """
    from fedshelf.common.images.folder.left_out import format_left_out
    from fedshelf.common.inference.export.mask_file import export_masks
    from fedshelf.common.inference.loading import load_masks
    from fedshelf.common.inference.masks.torch_masks import TorchMaskPredictor
    from fedshelf.common.models.weights import file_sha256

    predictor = load_masks(weights, "cpu")
    assert isinstance(predictor, TorchMaskPredictor)
    left_out: LeftOut = []
    photos = _decoded(paths, predictor.pixel_format, left_out)
    first = list(islice(photos, 1))
    if paths and not first:
        raise DataError(
            f"--photos has no photo that can be used ({format_left_out(left_out) or 'no files'})."
        )
    return export_masks(predictor, file_sha256(weights), chain(first, photos))


def _decoded(paths: Sequence[Path], form: "PixelFormat", left_out: "LeftOut") -> "Iterator[Pixels]":
    """Yield photos one by one, uint8 [1, S, S, C]; `left_out` gets those that cannot be used."""
    from fedshelf.common.inference.predictors.photos import decode_file, list_photos

    for photo in list_photos(paths, left_out):
        pixels = decode_file(photo.path, form)
        if isinstance(pixels, Exception):
            left_out.append((photo.name, str(pixels)))
        else:
            yield pixels[None]


def _export_scene_model(weights: Path, kind: "Output", out: Path, photos: list[Path]) -> None:
    """Write the ONNX file of a locator or mask network. Raises ConfigError, DataError."""
    from rich.filesize import decimal

    from fedshelf.common.system.files import write_bytes

    content = _locator(weights) if kind == "boxes" else _mask_network(weights, photos)
    write_bytes(out, content)
    what = "a locator" if kind == "boxes" else "a mask network"
    typer.echo(f"Written: {out} ({decimal(len(content))}), {what}.", err=True)


def _check_names(out: Path, torch_export: Path | None) -> None:
    """Raise ConfigError unless files have the names that other programs expect."""
    for option, path, suffix in (("--out", out, ".onnx"), ("--torch-export", torch_export, ".pt2")):
        if path is not None and path.suffix != suffix:
            raise ConfigError(f"{option} got {path}; expected a file that ends in {suffix}.")


def _torch_predictor(model: str) -> "TorchPredictor":
    """Return the one model to export. Raises ConfigError, DataError."""
    from fedshelf.common.inference.predictors.torch_predictor import TorchPredictor

    predictor = open_model(model, device="cpu")
    if not isinstance(predictor, TorchPredictor):
        raise ConfigError(
            f"MODEL got {model}, which is an ONNX file or several models; expected the directory of"
            " one run, or its model.safetensors."
        )
    return predictor


def _candidate(path: Path, graph: "ModelProto", predictor: "TorchPredictor") -> _Candidate:
    from fedshelf.common.inference.export.comparison import Comparison
    from fedshelf.common.inference.export.onnx_file import file_content, predictor_of

    content = file_content(graph)
    return _Candidate(path, content, predictor_of(content, predictor.description), Comparison())


def _smaller(
    out: Path,
    graph: "ModelProto",
    predictor: "TorchPredictor",
    *,
    half: bool,
    calibration: Path | None,
) -> list[_Candidate]:
    """Return the smaller forms that are asked for. Raises DataError."""
    from fedshelf.common.inference.export.small_weights import (
        with_half_weights,
        with_int8_arithmetic,
    )

    files = []
    if half:
        path = out.with_suffix(".half.onnx")
        files.append(_candidate(path, with_half_weights(graph), predictor))
    if calibration is not None:
        small = with_int8_arithmetic(graph, _calibration_pixels(calibration, predictor))
        files.append(_candidate(out.with_suffix(".int8.onnx"), small, predictor))
        files[-1].must_be_faster = True
    return files


def _calibration_pixels(folder: Path, predictor: "TorchPredictor") -> "Pixels":
    """Return evenly chosen photos of a folder: uint8 [N, S, S, C]. Raises DataError."""
    import numpy as np

    from fedshelf.common.inference.predictors.photos import decode_file, list_photos

    found = list(list_photos([folder], []))
    chosen = found[:: max(1, len(found) // _CALIBRATION_PHOTOS)][:_CALIBRATION_PHOTOS]
    decoded = [decode_file(photo.path, predictor.pixel_format) for photo in chosen]
    usable = [pixels for pixels in decoded if isinstance(pixels, np.ndarray)]
    if not usable:
        raise DataError(f"--int8 got {folder}, where no photo can be used; expected photos.")
    return np.stack(usable)


def _compare(files: Sequence[_Candidate], predictor: "TorchPredictor", paths: list[Path]) -> None:
    """Fill in the comparisons, times and reasons of files, the first of which is exact.

    Raises:
        DataError: the first one does not predict like the model, or photos cannot be used.
    """
    from fedshelf.client.use.arguments.progress import photo_progress
    from fedshelf.common.images.folder.left_out import format_left_out
    from fedshelf.common.inference.export.comparison import cpu_milliseconds
    from fedshelf.common.inference.export.onnx_file import drawn_photos
    from fedshelf.common.inference.predictors.photos import list_photos, predict_photos

    left_out: LeftOut = []
    found = list(list_photos(paths, left_out))
    classes = predictor.description.classes
    timed = drawn_photos(predictor.description)
    with photo_progress(len(found)) as done:
        for photos, pixels, predictions in predict_photos(predictor, found, left_out, done):
            timed = pixels
            labels = [photo.label(classes) for photo in photos]
            right = [None if label is None else classes.index(label) for label in labels]
            for file in files:
                exported = file.predictor.predict(pixels).probabilities
                file.comparison.add(predictions.probabilities, exported, right)
    if paths and not files[0].comparison.photos:
        raise DataError(
            f"--photos has no photo that can be used ({format_left_out(left_out) or 'no files'})."
        )
    files[0].comparison.check_exact()
    times = cpu_milliseconds([file.predictor for file in files], timed)
    for file, milliseconds in zip(files, times, strict=True):
        file.milliseconds = milliseconds
    for file in files[1:]:
        is_slower = file.must_be_faster and file.milliseconds >= files[0].milliseconds
        file.reason = file.comparison.fault() or ("not faster" if is_slower else None)


def _write(files: Sequence[_Candidate]) -> None:
    """Write the files that shall be, and print a table of all."""
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    from fedshelf.common.system.files import write_bytes

    table = Table(box=None, pad_edge=False)
    for header in _HEADERS:
        table.add_column(header, justify="left" if header in ("file", "") else "right")
    for candidate in files:
        comparison, content = candidate.comparison, candidate.content
        if candidate.reason is None:
            write_bytes(candidate.path, content)
        table.add_row(
            candidate.path.name,
            decimal(len(content)),
            f"{candidate.milliseconds:.2f} ms",
            _share(comparison.agreement if comparison.photos else None),
            _share(comparison.accuracy),
            "-" if comparison.p is None else f"{comparison.p:.3f}",
            "written" if candidate.reason is None else f"not written: {candidate.reason}",
        )
    wide = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(highlight=False, markup=False, width=wide).print(table)
    if photos := files[0].comparison.photos:
        typer.echo(
            f"On {photos} photos, {files[0].comparison.labelled} of them labelled, probabilities of"
            f" {files[0].path.name} differ by at most {files[0].comparison.difference:.1e}.",
            err=True,
        )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
