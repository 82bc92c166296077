"""Finished runs on small scenes, of rectangles that are products."""

from pathlib import Path
from typing import Any

from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.results.scenes.examples import scene_photos
from fedshelf.server.stop_request import StopRequest
from fedshelf.server.training.run import Training
from fedshelf.server.training.setup import settle
from fedshelf.server.updates.evaluator import Evaluators
from fedshelf.simulations.engines.sequential import SequentialEngine
from tests.helpers.by_hand import Notes
from tests.helpers.simulated_stores import settings, start
from tests.helpers.small_scenes import SIDE, stores_of_scenes

NETWORKS = {"boxes": "locator", "masks": "unet"}


def make_scene_run(
    directory: Path, objective: str, *, server_tests: bool = True, rounds: int = 2
) -> dict[str, Any]:
    """Train three stores on a task of scenes; return the summary.

    Args:
        directory: of the run
        objective: boxes or masks
        server_tests: whether the server has the seven test photos
        rounds: of the run
    """
    usual = {
        "train__objective": objective, "model__name": NETWORKS[objective], "run__rounds": rounds,
        "train__epochs": 1, "train__batch_size": 4, "train__lr": 0.005, "data__image_size": SIDE,
        "evaluation__batch_size": 4,
    }  # fmt: skip
    begun = start(settle(settings(**usual), SIDE, 3))
    dealt = stores_of_scenes(objective)
    opened = RunDirectory.open(directory, begun.plan.config)
    engine = SequentialEngine(dealt, begun, directory / "states")
    scenes = scene_photos(begun.plan, dealt.test) if server_tests else None
    evaluators = Evaluators(engine.evaluate_test_set if server_tests else None, scenes=scenes)
    notes = Notes()
    try:
        return Training(begun, engine, notes, opened, 0.0, evaluators).run(StopRequest(notes))
    finally:
        engine.close()
        opened.close()
