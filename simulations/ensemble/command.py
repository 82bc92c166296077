"""The command `flower-simulation ensemble`, from models to `ensemble.json` and `report.html`."""

import json
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models.saved import SavedModel
from fedshelf.common.names import DESCRIPTION_FILE, WEIGHTS_FILE
from fedshelf.common.system import device
from fedshelf.common.system.files import write_json
from fedshelf.common.text import printable
from fedshelf.server.formatting import decimal, percent
from fedshelf.server.results.run_directory import RunDirectory, free_name
from fedshelf.simulations.compare.statistics.margins import Paired, gain
from fedshelf.simulations.compare.statistics.paired_accuracy import Judged, judged
from fedshelf.simulations.ensemble import page
from fedshelf.simulations.ensemble.members import MemberPredictions, predict_members, read_members
from fedshelf.simulations.ensemble.methods import Stacking, fit_weights, mean, vote, weighted
from fedshelf.simulations.ensemble.words import headline
from fedshelf.simulations.run.own_code import allow_named

ENSEMBLE_FILE = "ensemble.json"
Rule = Callable[[Tensor], Tensor]
"""A function from the predictions of M members, [M, N, C], to the scores of the ensemble, [N,
C].
"""


def ensemble(
    paths: Sequence[Path], settings: Mapping[str, Any], console: Console
) -> dict[str, Any]:
    """Judge models and their ensembles, and write the results.

    Args:
        paths: run directories or files of models, at least two
        settings: flat settings
        console: gets the table and the sentences

    Returns:
        The results as JSON values.

    Raises:
        FedshelfError: the models or the data cannot be used, or the directory is not free.
    """
    allow_named(settings)
    config = resolve(settings)
    if len(paths) < 2:
        raise ConfigError(
            f"An ensemble has at least two models, got {len(paths)}; name more of them."
        )
    members = read_members(paths)
    out = (
        Path(config.run.out)
        if config.run.out
        else free_name(Path("runs") / f"ensemble-{_dataset(config)}")
    )
    RunDirectory.check_new(out)
    device_used = device.pick_device(config.run.device)
    predictions = predict_members(
        members, config.data, device_used, config.evaluation.batch_size, config.run.seed
    )
    results = judge_ensembles(_names(members), members, predictions) | {
        "dataset": config.data.dataset
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / ENSEMBLE_FILE, results)
    page.write(out)
    console.print(_table(results))
    for line in headline(results):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Report: {out / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
    return results


def judge_ensembles(
    names: Sequence[str], members: Sequence[SavedModel], predictions: MemberPredictions
) -> dict[str, Any]:
    """Judge each model and each ensemble.

    Ensembles are fitted on the `fit` images. Gains are over the member that is best on these.

    Args:
        names: a name for each member
        members: the models
        predictions: their predictions

    Returns:
        All results as JSON values.
    """
    weights = fit_weights(predictions.of_fit, predictions.fit_targets)
    rules: dict[str, Rule] = {
        "mean": mean,
        "weighted": lambda log_probs: weighted(log_probs, weights),
        "vote": vote,
        "stacking": Stacking(predictions.of_fit, predictions.fit_targets),
    }
    alone = [_judge_on_both(itemgetter(position), predictions) for position in range(len(members))]
    best = max(range(len(members)), key=lambda position: alone[position][0].counts.accuracy)
    together = {name: _judge_on_both(rule, predictions) for name, rule in rules.items()}
    return {
        "classes": list(members[0].spec.classes),
        "class_names": _class_names(members),
        "fitted_on": {"images": len(predictions.fit_targets), "told": predictions.origin},
        "judged_on": {"images": len(predictions.test_targets)},
        "best_member": names[best],
        "members": {
            name: (
                {
                    "file": str(member.path),
                    "model": member.spec.name,
                    "image_size": member.spec.image_size,
                }
                | {"weight": float(weight)}
                | _scores_of(results, with_loss=True)
            )
            for name, member, weight, results in zip(names, members, weights, alone, strict=True)
        },
        "ensembles": {
            name: (
                _scores_of(results, with_loss=name != "vote")
                | {
                    "gain": _gain(alone[best][1], results[1]),
                    "confusion": results[1].counts.confusion.tolist(),
                }
            )
            for name, results in together.items()
        },
    }


def _judge_on_both(rule: Rule, predictions: MemberPredictions) -> tuple[Judged, Judged]:
    """Judge a rule on the images of the fit and on those of the test."""
    return judged(rule(predictions.of_fit), predictions.fit_targets), judged(
        rule(predictions.of_test), predictions.test_targets
    )


def _gain(before: Judged, after: Judged) -> dict[str, float]:
    mean_gain = gain([[Paired.of("", np.arange(len(before.right)), before, after)]])
    assert mean_gain is not None, "there are test images"
    return {"points": mean_gain.points, "margin": mean_gain.margin()}


def _scores_of(results: tuple[Judged, Judged], *, with_loss: bool) -> dict[str, Any]:
    """Return the scores on both sets; votes are no probabilities and have no loss."""
    scores_of_split = [judged_split.counts.scalars() for judged_split in results]
    for scores in scores_of_split:
        if not with_loss:
            scores.pop("loss")
    return {"fit": scores_of_split[0], "test": scores_of_split[1]}


def _names(members: Sequence[SavedModel]) -> list[str]:
    """Return the directories' names, with as many parent folders as it takes to tell them apart."""
    paths_of_members = [
        member.path.resolve().parts[:-1]
        if member.path.name == WEIGHTS_FILE
        else (member.path.stem,)
        for member in members
    ]
    depth = 1
    while depth < max(map(len, paths_of_members)) and len(
        {path_parts[-depth:] for path_parts in paths_of_members}
    ) < len(paths_of_members):
        depth += 1
    names = ["/".join(path_parts[-depth:]) for path_parts in paths_of_members]
    return (
        names
        if len(set(names)) == len(names)
        else [f"{name} ({position})" for position, name in enumerate(names, 1)]
    )


def _class_names(members: Sequence[SavedModel]) -> list[str]:
    """Return names for the first member's classes, as people know them.

    They come from the first member that has such names.
    """
    names = next(filter(None, map(_names_beside, members)), {})
    return [names.get(label, label) for label in members[0].spec.classes]


def _names_beside(member: SavedModel) -> dict[str, str]:
    """Return class -> name from the `model.json` beside a model's file.

    Raises:
        DataError: it cannot be read.
    """
    path = member.path.with_name(DESCRIPTION_FILE)
    try:
        description = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return dict(
            zip(description.get("classes", ()), description.get("class_names", ()), strict=False)
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"Cannot read {path} ({error}); expected the {DESCRIPTION_FILE} of a run."
        ) from error


def _dataset(config: RunConfig) -> str:
    return Path(config.data.dataset).name


def _table(results: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"On {results['judged_on']['images']:,} test images",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    for name in ("accuracy", "macro F1", "loss", "weight", "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in results["members"].items():
        table.add_row(
            printable(name),
            *_scores(row["test"]),
            f"{row['weight']:.2f}",
            "",
        )
    table.add_section()
    for name, row in results["ensembles"].items():
        table.add_row(
            name,
            *_scores(row["test"]),
            "",
            f"{row['gain']['points']:+.1f} ± {row['gain']['margin']:.1f}",
        )
    return table


def _scores(test: Mapping[str, float]) -> list[str]:
    return [percent(test["accuracy"]), decimal(test["macro_f1"]), decimal(test.get("loss"))]
