"""Measure the locator in ONNX Runtime: CPU time for one scene.

    python -m benchmarks.locating --side 640 --cores 1

It prints the median of some passes over one drawn scene: of the network alone, and with the reading
of its map. The weights are drawn, which changes no time of the network; a trained one tells more
boxes, whose reading takes longer. The aim is 60 ms for 640 pixels.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from fedshelf.common.inference.export.locator_file import export_locator
from fedshelf.common.inference.locators.onnx_locator import open_onnx_locator_content
from fedshelf.common.inference.locators.torch_locator import TorchBoxPredictor
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.training.fit import Network
from fedshelf.simulations.datasets.scenes import draw_scenes

PASSES = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=640, help="pixels, of the network's square")
    parser.add_argument("--cores", type=int, default=1, help="that may be used")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    spec = ModelSpec("locator", ("product",), options.side, 3, (0.5,) * 3, (0.25,) * 3)
    torch.set_num_threads(1)
    model = TorchBoxPredictor(
        Network(spec, torch.device("cpu")), ModelDescription(spec, spec.classes)
    )
    content = export_locator(model, "")
    with tempfile.TemporaryDirectory() as folder:
        locator = open_onnx_locator_content(content, Path(folder) / "locator.onnx")
    photos = draw_scenes(1, options.side, seed=0).photos
    passes = [_milliseconds(lambda: locator.maps(photos)) for _ in range(PASSES)]
    whole = [_milliseconds(lambda: locator.locate(photos)) for _ in range(PASSES)]
    print(
        f"{options.side} px, {options.cores} core(s): {statistics.median(passes):.1f} ms of CPU"
        f" for the network, {statistics.median(whole):.1f} with the reading of its map"
    )


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


if __name__ == "__main__":
    main()
