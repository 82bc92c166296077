"""A run directory as the server leaves it, with numbers that look like a training, drawn from a
seed.
"""

import json
import random
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.metrics.calibration import Reliability
from fedshelf.common.metrics.counts import Counts
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.results.scores import Scores
from fedshelf.server.training.final_evaluation import FinalEvaluation

PRODUCTS = ("shirt", "t-shirt", "trousers", "dress", "shoe", "bag", "watch", "lamp", "cup", "chair")
PHASES = {"aggregate": 0.02, "evaluate": 0.2, "checkpoint": 0.01}


def class_names(number: int) -> list[str]:
    return (
        list(PRODUCTS)
        if number == len(PRODUCTS)
        else [f"product {index:02d}" for index in range(number)]
    )


def scores(accuracy: float, images: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "accuracy": accuracy,
        "macro_f1": accuracy - 0.01,
        "loss": 2.3 * (1 - accuracy) + 0.1,
    }
    return found if images is None else found | {"images": images}


def history(
    stores: list[str], rounds: int, *, failures: bool = True, seed: int = 0
) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    quality = {store: draw.gauss(0, 0.04) for store in stores}
    records = []
    for number in range(1, rounds + 1):
        level = 0.86 - 0.72 * 2.718 ** (-6 * number / rounds) + draw.gauss(0, 0.006)
        sampled = sorted(
            draw.sample(stores, max(1, len(stores) // (1 if len(stores) <= 20 else 10)))
        )
        failed = {
            store: trouble(draw) for store in sampled[1:] if failures and draw.random() < 0.04
        }
        used = {
            store: {"images": 500, "loss": 2 - 2 * level, "seconds": 0.31}
            for store in sampled
            if store not in failed
        }
        each = {
            store: scores(min(1.0, max(0.0, level + shift)), 50) for store, shift in quality.items()
        }
        train = 1.2 + draw.random() / 5
        records.append(
            {
                "round": number,
                "lr": 0.05,
                "sampled": sampled,
                "stores": used,
                "failed": failed,
                "train": {
                    "loss": 2.2 * (1 - level) + draw.gauss(0, 0.02),
                    "images": 500 * len(used),
                },
                "test": scores(level),
                "validation": scores(level - 0.012, 50 * len(stores)) | {"stores": each},
                "seconds": {"train": train, "total": train + 0.25} | PHASES,
                "bytes": {"down": 248_024 * len(sampled), "up": 248_024 * len(used)},
            }
        )
    return records


def trouble(draw: random.Random) -> dict[str, str]:
    return draw.choice(
        [
            {"code": "timeout", "reason": "no answer within 30 s"},
            {"code": "out-of-memory", "reason": "CUDA ran out of memory at batch size 256"},
            {"code": "invalid", "reason": "the update contains values that are not finite"},
        ]
    )


def confusion(classes: int, images: int, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    matrix = [[0] * classes for _ in range(classes)]
    for index in range(images):
        truth = index % classes
        near = (truth + draw.choice((1, 1, 2, classes // 2))) % classes
        matrix[truth][
            (
                truth
                if draw.random() < 0.75 + 0.2 * (truth % 3) / 2
                else near
                if draw.random() < 0.6
                else draw.randrange(classes)
            )
        ] += 1
    return matrix


def per_class(classes: list[str], matrix: list[list[int]]) -> dict[str, dict[str, float]]:
    found = {}
    for index, name in enumerate(classes):
        right = matrix[index][index]
        images = sum(matrix[index])
        guessed = sum(row[index] for row in matrix)
        precision, recall = (right / whole if whole else 0.0 for whole in (guessed, images))
        found[name] = {
            "precision": precision,
            "recall": recall,
            "f1": 2 * right / max(1, images + guessed),
            "images": images,
        }
    return found


def counted(matrix: list[list[int]], seed: int, temperatures: tuple[float, ...]) -> Counts:
    """Counts of a model that is surer than right, the more the lower the temperature."""
    counts = Counts(np.array(matrix), 0.4 * sum(map(sum, matrix)))
    draw = np.random.default_rng(seed)
    images = counts.num_examples
    is_right = np.arange(images) < np.trace(counts.confusion)
    sure = (
        np.clip(draw.beta(3, 1.2, images) - 0.2 * (~is_right), 0.05, 0.999)
        ** np.array(temperatures)[:, None]
    )
    nll = np.where(is_right, -np.log(sure), -np.log((1 - sure) / 3))
    told = Reliability.from_predictions(
        temperatures,
        nll.astype(np.float32),
        sure.astype(np.float32),
        is_right,
        draw.normal(6, 1, images).astype(np.float32),
    )
    return replace(counts, reliability=told)


def judged(
    directory: Path,
    config: RunConfig,
    stores: list[str],
    classes: list[str],
    matrix: list[list[int]],
) -> Any:
    """Return the summary of such a run by `server.training.final_evaluation`; the rest is written
    beside it.
    """
    each = {
        store: counted(confusion(len(classes), 60, seed=place), place, (1.0, 1.3))
        for place, store in enumerate(stores)
    }
    verdict = FinalEvaluation(
        tuple(classes), Scores(counted(matrix, 7, (1.0, 1.3)), each), Scores(None, {}), 1.3
    )
    with closing(RunDirectory.open(directory, config)) as opened:
        return verdict.to_summary(opened, {})


def summary(
    records: list[dict[str, Any]], stores: list[str], classes: list[str], images: int = 10_000
) -> dict[str, Any]:
    matrix = confusion(len(classes), images)
    best = max(records, key=lambda record: record["validation"]["accuracy"])
    accuracy = sum(matrix[index][index] for index in range(len(classes))) / images
    phases = {
        phase: sum(record["seconds"][phase] for record in records)
        for phase in ("train", "aggregate", "evaluate")
    }
    test = scores(accuracy, images) | {
        "on": "server",
        "per_class": per_class(classes, matrix),
        "confusion": matrix,
    }
    return {
        "status": "finished",
        "reason": None,
        "rounds": len(records),
        "test": test,
        "best": {
            "round": best["round"],
            "accuracy": best["validation"]["accuracy"],
            "on": "validation",
        },
        "delivered_round": best["round"],
        "delivered_because": "the best by accuracy on the stores' validation images",
        "seconds": {"startup": 2.1} | phases | {"total": sum(phases.values()) + 4.2},
        "images_per_second": 3512.4,
        "bytes": {way: sum(record["bytes"][way] for record in records) for way in ("down", "up")},
        "stores": len(stores),
        "parameters": 62_006,
        "weights_sha256": "9f" * 32,
        "model": {"name": "niid-cnn", "classes": classes, "image_size": 32},
        "per_store": {
            name: values | {"images": 60}
            for name, values in records[-1]["validation"]["stores"].items()
        },
    }


def partition(stores: list[str], classes: list[str], seed: int = 0) -> dict[str, Any]:
    draw = random.Random(seed)
    weights = {store: [draw.gammavariate(0.4, 1) for _ in classes] for store in stores}
    return {
        "classes": classes,
        "stores": {store: [int(130 * weight) for weight in row] for store, row in weights.items()},
    }


def write_history(directory: Path, records: list[dict[str, Any]]) -> None:
    (directory / "history.jsonl").write_text(
        "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    )


def make_run(directory: Path, *, stores: int = 10, rounds: int = 20, classes: int = 10) -> Path:
    """Write a complete, finished run of that size; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    names = [f"store-{index:02d}" for index in range(stores)]
    products = class_names(classes)
    records = history(names, rounds)
    write_history(directory, records)
    config = resolve(
        {
            "data.partition": "dirichlet:0.4",
            "data.stores": stores,
            "run.rounds": rounds,
            "train.lr": 0.01,
        }
    )
    outcome = summary(records, names, products)
    outcome |= judged(directory, config, names, products, outcome["test"]["confusion"])
    (directory / "summary.json").write_text(json.dumps(outcome, allow_nan=False))
    (directory / "partition.json").write_text(json.dumps(partition(names, products)))
    return directory
