"""Measure how well foreign photos are told from a store's own, with an index and without.

    flower-client index runs/shop ../shared/data/clothing/train --out shop.index
    python -m benchmarks.unknown runs/shop shop.index ../shared/data/clothing/test --foreign FOLDER

The photos of the folder are those to be known. Foreign are those of `--foreign`, photos of one
colour, and noise. It prints the area under the curve (AUROC, 0.5 is chance) of the likeness to the
index, and the shares of photos below the index's threshold. The aim is an AUROC of 0.95.
"""

import argparse
from pathlib import Path

import numpy as np

from fedshelf.common.inference.loading import load
from fedshelf.common.inference.predictors.photos import list_photos, predict_photos
from fedshelf.common.inference.predictors.predictor import Floats, Pixels
from fedshelf.common.inference.search.familiarity import IndexedPredictor, open_familiarity

DRAWN = 100  # photos of one colour, and of noise
BATCH = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("index", type=Path, metavar="INDEX")
    parser.add_argument("known", type=Path, metavar="FOLDER")
    parser.add_argument("--foreign", type=Path, action="append", default=[], metavar="FOLDER")
    arguments = parser.parse_args()
    predictor = open_familiarity(load(arguments.model), arguments.index)
    known = _of_folder(predictor, arguments.known)
    print(f"{arguments.known}: {len(known)} photos, {(known < 0).mean():.1%} below the threshold")
    height, width, channels = predictor.pixel_format.shape
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (DRAWN, 1, 1, channels), np.uint8)
    foreign = {
        **{str(folder): _of_folder(predictor, folder) for folder in arguments.foreign},
        "one colour": _of_pixels(
            predictor, np.broadcast_to(colours, (DRAWN, height, width, channels))
        ),
        "noise": _of_pixels(
            predictor, random.integers(0, 256, (DRAWN, height, width, channels), np.uint8)
        ),
    }
    for name, familiarity in foreign.items():
        print(
            f"{name}: {len(familiarity)} photos, AUROC {auroc(known, familiarity):.3f},"
            f" {(familiarity < 0).mean():.1%} below the threshold"
        )


def auroc(above: Floats, below: Floats) -> float:
    """Return the share of pairs in which the first is larger; equal ones count half."""
    larger = (above[:, None] > below[None]).mean()
    equal = (above[:, None] == below[None]).mean()
    return float(larger + equal / 2)


def _of_folder(predictor: IndexedPredictor, folder: Path) -> Floats:
    batches = predict_photos(predictor, list_photos([folder], []), [])
    return np.concatenate([predictions.familiarity for _, _, predictions in batches])


def _of_pixels(predictor: IndexedPredictor, pixels: Pixels) -> Floats:
    return np.concatenate(
        [
            predictor.predict(np.ascontiguousarray(pixels[start : start + BATCH])).familiarity
            for start in range(0, len(pixels), BATCH)
        ]
    )


if __name__ == "__main__":
    main()
