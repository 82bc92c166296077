"""Play the pointing game: do explanations point at the photo that shows the class?

    python -m benchmarks.pointing runs/shop ../shared/data/clothing/test --photos 100

A photo is put into one quarter of a square of the model's size, in turn into each. The rest of the
square is grey or white ("alone"), or shows photos of three other classes ("among others"; Boehle et
al. 2021, "Convolutional Dynamic Alignment Networks", the grid pointing game). The explanation is
for the class of the photo. A hit is a map whose maximum is in the photo's quarter; the energy is
the share of the map above 0 that is in it. Chance is 0.25 for both. "recognised" is the share of
squares for which the model names the photo's class: where it does not see the class there is
nothing to explain, so both figures are also given for those squares alone.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.explain.grad_cam import grad_cam
from fedshelf.common.inference.explain.occlusion import occlusion
from fedshelf.common.inference.loading import load
from fedshelf.common.inference.predictors.photos import NamedPhoto, decode_file, list_photos
from fedshelf.common.inference.predictors.predictor import Floats, Pixels, Predictor

METHODS: dict[str, Callable[[Predictor, Pixels, int], Floats]] = {
    "occlusion": occlusion,
    "grad-cam": grad_cam,
}
GAMES = {"alone on grey": 128, "alone on white": 255, "among others": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a sub-folder per class")
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--games", default=",".join(GAMES))
    arguments = parser.parse_args()
    predictor = load(arguments.model)
    classes = predictor.description.classes
    photos = [
        (photo, classes.index(label))
        for photo in sorted(list_photos([arguments.folder], []), key=lambda photo: photo.name)
        if (label := photo.label(classes)) is not None
    ]
    order = np.random.default_rng(0).permutation(len(photos))[: arguments.photos]
    for game in arguments.games.split(","):
        squares = [
            _square(predictor, photos, int(position), turn % 4, GAMES[game])
            for turn, position in enumerate(order)
        ]
        labels = [photos[position][1] for position in order]
        seen = [
            int(predictor.predict(square[None]).probabilities[0].argmax()) == label
            for square, label in zip(squares, labels, strict=True)
        ]
        print(f"{game}: {len(squares)} photos, recognised {np.mean(seen):.2f}")
        for method in arguments.methods.split(","):
            results = np.array(
                [
                    _judged(METHODS[method](predictor, square, label), turn % 4)
                    for turn, (square, label) in enumerate(zip(squares, labels, strict=True))
                ]
            )
            hits, energy = results.mean(axis=0)
            told = f"  {method}: hits {hits:.2f}, energy {energy:.2f}"
            if any(seen):
                hits, energy = results[np.array(seen)].mean(axis=0)
                told += f"; of those recognised: hits {hits:.2f}, energy {energy:.2f}"
            print(told, flush=True)


def _square(
    predictor: Predictor,
    photos: list[tuple[NamedPhoto, int]],
    position: int,
    quarter: int,
    background: int | None,
) -> Pixels:
    """Return a square with a photo in one quarter: uint8 [S, S, C]."""
    form = predictor.pixel_format
    half = form.image_size // 2
    square = np.full((2 * half, 2 * half, form.channels), background or 0, np.uint8)
    shown = {quarter: position}
    if background is None:
        labels = {photos[position][1]}
        free = [place for place in range(4) if place != quarter]
        for other in np.random.default_rng(position).permutation(len(photos)).tolist():
            if free and photos[other][1] not in labels:
                labels.add(photos[other][1])
                shown[free.pop()] = other
    for place, number in shown.items():
        pixels = decode_file(photos[number][0].path, PixelFormat(half, form.channels, form.denoise))
        assert isinstance(pixels, np.ndarray), pixels
        top, left = half * (place // 2), half * (place % 2)
        square[top : top + half, left : left + half] = pixels
    return square


def _judged(heat: Floats, quarter: int) -> tuple[bool, float]:
    """Return whether the maximum is in a quarter, and the share of the map above 0 in it."""
    # each cell is cut into four, so that the middle of an odd map is shared out
    fine = np.maximum(heat, 0).repeat(2, axis=0).repeat(2, axis=1)
    rows, columns = np.array(fine.shape) // 2
    top, left = rows * (quarter // 2), columns * (quarter % 2)
    part = fine[top : top + rows, left : left + columns]
    if fine.max() <= 0:
        return False, 0.25
    return bool(part.max() >= fine.max()), float(part.sum() / fine.sum())


if __name__ == "__main__":
    main()
