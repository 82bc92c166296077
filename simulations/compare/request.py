"""The directory, settings and options of a comparison, new or resumed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedshelf.common import strategies
from fedshelf.common.classes.display_names import ProductNames
from fedshelf.common.config import RunConfig, flatten, resolve
from fedshelf.common.errors import ConfigError, RunError
from fedshelf.common.names import COMPARISON_FILE
from fedshelf.server.results.run_directory import RunDirectory, free_name
from fedshelf.server.settings import recipes
from fedshelf.server.training.resume_model import adopt
from fedshelf.simulations import datasets
from fedshelf.simulations.compare.arms.arms import Options
from fedshelf.simulations.run.own_code import allow_named

CHANGEABLE = frozenset({"run.out", "run.workers", "run.device"})
TUNE_EPOCHS = 2
TUNE_LR_PART = 5  # the first round's learning rate is divided by this


@dataclass(frozen=True)
class ComparisonRequest:
    """The options of the command line.

    Attributes:
        settings: flat settings, merged in the order of their precedence
        seeds: as in `Options`; empty: those of the comparison to resume, else the one of
            `settings`. A comparison to resume keeps its seeds, and these come after them
        tune_epochs: as in `Options`; None: that of the comparison to resume, else TUNE_EPOCHS
        tune_lr: the same; else the first round's learning rate divided by TUNE_LR_PART
        leave_one_out: as in `Options`; a comparison to resume may have it already
        names: product names of the classes; None: those of the comparison to resume, else the
            folders' names
    """

    settings: dict[str, Any]
    resume: bool
    seeds: tuple[int, ...]
    tune_epochs: int | None
    tune_lr: float | None
    leave_one_out: bool
    names: ProductNames | None = None


def is_comparison(path: Path) -> bool:
    """Return whether there is a comparison in `path`, begun or finished."""
    return (path / COMPARISON_FILE).is_file()


def prepare_comparison(request: ComparisonRequest) -> tuple[Path, RunConfig]:
    """Return the directory and the configuration of a comparison.

    Raises:
        RunError: the directory cannot be used, or holds no comparison to resume.
        ConfigError: the settings are invalid, or differ from those of the comparison to resume.
    """
    allow_named(request.settings)
    settings = adopt(request.settings)
    config = resolve(settings)
    default = Path("runs") / f"compare-{config.run.name or Path(config.data.dataset).name}"
    if request.resume:
        # only what was given: of the rest the comparison decided itself
        given = {key: settings[key] for key in request.settings}
        allow_named({}, Path(config.run.out or default))
        return _resumed(Path(config.run.out or default), given)
    source = datasets.find(config.data)
    if source.are_scenes:
        raise ConfigError(
            f"A comparison is about product classes, got {config.data.dataset}, whose photos show"
            " many products each; train on it by flower-simulation run."
        )
    is_photos = source.native_size is None
    completed = recipes.complete(request.settings, photos=is_photos, inherited=settings)
    path = Path(config.run.out) if config.run.out else free_name(default)
    RunDirectory.check_new(path)
    first = {"run.seed": request.seeds[0]} if request.seeds else {}
    return path, resolve(completed.settings, {"run.out": str(path)}, first)


def agree_on_options(
    request: ComparisonRequest, config: RunConfig, directory: RunDirectory
) -> Options:
    """Return the options of a comparison, and save them in its directory.

    They are the options of the request, else those of the comparison to resume, else the defaults.

    Args:
        request: the options of the command line
        config: the settings of the comparison
        directory: the comparison's directory

    Raises:
        ConfigError: they differ from those of the comparison to resume.
        RunError: an earlier version made the comparison to resume.
    """
    before = _stored(directory.path)
    # a head in closed form is the best for its store's sums: steps at a usual rate only harm it
    tune_epochs = 0 if strategies.find(config.strategy.name).closed_form else TUNE_EPOCHS
    defaults = before or Options(
        (config.run.seed,), tune_epochs, config.train.lr / TUNE_LR_PART, leave_one_out=False
    )
    seeds = request.seeds or defaults.seeds
    if before:
        seeds = (*before.seeds, *(seed for seed in seeds if seed not in before.seeds))
    options = Options(
        seeds,
        defaults.tune_epochs if request.tune_epochs is None else request.tune_epochs,
        defaults.tune_lr if request.tune_lr is None else request.tune_lr,
        request.leave_one_out or defaults.leave_one_out,
    )
    if before and (options.tune_epochs, options.tune_lr) != (before.tune_epochs, before.tune_lr):
        raise ConfigError(
            f"The comparison in {directory.path} fine-tunes for {before.tune_epochs} epochs with"
            f" learning rate {before.tune_lr:g}; leave both out to go on with it, or start a new"
            " one."
        )
    directory.write(COMPARISON_FILE, asdict(options))
    return options


def _resumed(path: Path, settings: Mapping[str, Any]) -> tuple[Path, RunConfig]:
    if RunDirectory.is_run(path) and not is_comparison(path):
        if (path / "history.jsonl").exists():
            raise RunError(
                f"{path} holds a run, not a comparison; go on with it by flower-simulation run"
                " --resume."
            )
        raise RunError(
            f"{path} holds a comparison that was stopped before it began; remove it and start a new"
            " one."
        )
    stored = RunDirectory.stored(path, settings)
    for key in settings.keys() - CHANGEABLE:
        if flatten(stored)[key] != flatten(RunDirectory.stored(path, {}))[key]:
            raise ConfigError(
                f"Setting {key} cannot change when a comparison goes on; start a new one."
            )
    return path, stored


def _stored(path: Path) -> Options | None:
    """Return the options of the comparison in `path`; None if there is none.

    Raises:
        RunError: an earlier version made the comparison.
    """
    if not is_comparison(path):
        return None
    options = json.loads((path / COMPARISON_FILE).read_text(encoding="utf-8"))
    if options.keys() != Options.__dataclass_fields__.keys():
        raise RunError(
            f"The comparison in {path} was made by an earlier version, which gave models unequal"
            " work; start a new one."
        )
    return Options(
        tuple(options["seeds"]),
        options["tune_epochs"],
        options["tune_lr"],
        options["leave_one_out"],
    )
