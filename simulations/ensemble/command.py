"""`flower-simulation ensemble`, from models to a directory with `ensemble.json` and
`report.html`.
"""

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
from fedshelf.common.wording import printable
from fedshelf.server.formatting import decimal, percent
from fedshelf.server.results.run_directory import RunDirectory, free_name
from fedshelf.simulations.compare.statistics.margins import Paired, gain
from fedshelf.simulations.compare.statistics.paired_accuracy import Judged, judged
from fedshelf.simulations.ensemble import page
from fedshelf.simulations.ensemble.members import Predictions, listen, read_members
from fedshelf.simulations.ensemble.methods import Stacking, fit_weights, mean, vote, weighted
from fedshelf.simulations.ensemble.words import headline

ENSEMBLE_FILE = "ensemble.json"
Rule = Callable[[Tensor], Tensor]
"""A function from the predictions of M members, [M, N, C], to the scores of the ensemble, [N,
C].
"""


def ensemble(
    paths: Sequence[Path], settings: Mapping[str, Any], console: Console
) -> dict[str, Any]:
    """Judge models and their ensembles, and write the results. Raises FedshelfError."""
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
    chosen = device.pick_device(config.run.device)
    said = listen(members, config.data, chosen, config.evaluation.batch_size, config.run.seed)
    found = verdict(_names(members), members, said) | {"dataset": config.data.dataset}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / ENSEMBLE_FILE, found)
    page.write(out)
    console.print(_table(found))
    for line in headline(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Report: {out / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
    return found


def verdict(
    names: Sequence[str], members: Sequence[SavedModel], said: Predictions
) -> dict[str, Any]:
    """Return all results as JSON values.

    Fits use the `fit` images; gains are over the member that is best on them.
    """
    weights = fit_weights(said.of_fit, said.fit_targets)
    rules: dict[str, Rule] = {
        "mean": mean,
        "weighted": lambda each: weighted(each, weights),
        "vote": vote,
        "stacking": Stacking(said.of_fit, said.fit_targets),
    }
    alone = [_both(itemgetter(place), said) for place in range(len(members))]
    best = max(range(len(members)), key=lambda place: alone[place][0].counts.accuracy)
    together = {name: _both(rule, said) for name, rule in rules.items()}
    return {
        "classes": list(members[0].spec.classes),
        "class_names": _class_names(members),
        "fitted_on": {"images": len(said.fit_targets), "told": said.origin},
        "judged_on": {"images": len(said.test_targets)},
        "best_member": names[best],
        "members": {
            name: (
                {
                    "file": str(member.path),
                    "model": member.spec.name,
                    "image_size": member.spec.image_size,
                }
                | {"weight": float(weight)}
                | _described(results, with_loss=True)
            )
            for name, member, weight, results in zip(names, members, weights, alone, strict=True)
        },
        "ensembles": {
            name: (
                _described(results, with_loss=name != "vote")
                | {
                    "gain": _gain(alone[best][1], results[1]),
                    "confusion": results[1].counts.confusion.tolist(),
                }
            )
            for name, results in together.items()
        },
    }


def _both(rule: Rule, said: Predictions) -> tuple[Judged, Judged]:
    """Judge a rule on the images of the fit and on those of the test."""
    return judged(rule(said.of_fit), said.fit_targets), judged(
        rule(said.of_test), said.test_targets
    )


def _gain(before: Judged, after: Judged) -> dict[str, float]:
    found = gain([[Paired.of("", np.arange(len(before.right)), before, after)]])
    assert found is not None, "there are test images"
    return {"points": found.points, "margin": found.margin()}


def _described(results: tuple[Judged, Judged], *, with_loss: bool) -> dict[str, Any]:
    """Return the scores on both sets; votes are no probabilities and have no loss."""
    told = [each.counts.scalars() for each in results]
    for scores in told:
        if not with_loss:
            scores.pop("loss")
    return {"fit": told[0], "test": told[1]}


def _names(members: Sequence[SavedModel]) -> list[str]:
    """Return the directories' names, with as many parent folders as it takes to tell them apart."""
    places = [
        member.path.resolve().parts[:-1]
        if member.path.name == WEIGHTS_FILE
        else (member.path.stem,)
        for member in members
    ]
    depth = 1
    while depth < max(map(len, places)) and len({parts[-depth:] for parts in places}) < len(places):
        depth += 1
    names = ["/".join(parts[-depth:]) for parts in places]
    return (
        names
        if len(set(names)) == len(names)
        else [f"{name} ({place})" for place, name in enumerate(names, 1)]
    )


def _class_names(members: Sequence[SavedModel]) -> list[str]:
    """Return names for the first member's classes, as people know them, from the first member that
    has such names.
    """
    names = next(filter(None, map(_names_beside, members)), {})
    return [names.get(label, label) for label in members[0].spec.classes]


def _names_beside(member: SavedModel) -> dict[str, str]:
    """Return class -> name from the `model.json` beside a model's file.

    Raises DataError if it cannot be read.
    """
    path = member.path.with_name(DESCRIPTION_FILE)
    try:
        described = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return dict(
            zip(described.get("classes", ()), described.get("class_names", ()), strict=False)
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"Cannot read {path} ({error}); expected the {DESCRIPTION_FILE} of a run."
        ) from error


def _dataset(config: RunConfig) -> str:
    return Path(config.data.dataset).name


def _table(found: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"On {found['judged_on']['images']:,} test images",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    for name in ("accuracy", "macro F1", "loss", "weight", "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, each in found["members"].items():
        table.add_row(printable(name), *_scores(each["test"]), f"{each['weight']:.2f}", "")
    table.add_section()
    for name, each in found["ensembles"].items():
        table.add_row(
            name,
            *_scores(each["test"]),
            "",
            f"{each['gain']['points']:+.1f} ± {each['gain']['margin']:.1f}",
        )
    return table


def _scores(test: Mapping[str, float]) -> list[str]:
    return [percent(test["accuracy"]), decimal(test["macro_f1"]), decimal(test.get("loss"))]
