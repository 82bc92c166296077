"""Train one product-image classifier across many stores; the photos never leave them.

The functions here are the Python interface (docs/how-to/python.md). Nothing heavy is imported
until one is called.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedshelf.common.config.field_types import StrategySettings as StrategySettings
    from fedshelf.common.inference.finished_model import FinishedModel
    from fedshelf.common.metrics.formulas.metric import Metric as Metric
    from fedshelf.common.strategies import Strategy as Strategy
    from fedshelf.simulations.python.callbacks import PlayedRound
    from fedshelf.simulations.python.simulated_run import SimulatedRun
    from fedshelf.simulations.python.studies import Study

__all__ = [
    "Metric",
    "Strategy",
    "StrategySettings",
    "compare",
    "load",
    "runs",
    "settings",
    "simulate",
    "sweep",
]

_LATE = {
    "Metric": "fedshelf.common.metrics.formulas.metric",
    "Strategy": "fedshelf.common.strategies",
    "StrategySettings": "fedshelf.common.config.field_types",
}


def __getattr__(name: str) -> Any:
    """Import the classes to derive from only when a program asks for them."""
    if name not in _LATE:
        raise AttributeError(f"module 'fedshelf' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATE[name]), name)


def simulate(
    dataset: Any = None,
    stores: int | Mapping[str, Any] | Sequence[Any] | None = None,
    partition: str | Callable[..., Any] | None = None,
    model: Any = None,
    strategy: "str | type[Strategy] | None" = None,
    *,
    augmentation: Any = None,
    rounds: int | None = None,
    seed: int | None = None,
    out: str | PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    metrics: Sequence[Any] = (),
    callbacks: "Sequence[Callable[[PlayedRound], object]]" = (),
    resume: str | PathLike[str] | None = None,
    progress: bool = True,
    **settings: Any,
) -> "SimulatedRun":
    """Train across simulated stores, as `flower-simulation run` does, and return the run.

    The same settings give the same files and the same bits as the command. Ctrl-C (in a notebook:
    interrupt the kernel) ends the run after its round, once more at once; `resume` goes on.

    Args:
        dataset: a name, folder or file as for the command; (images, labels); a
            `torch.utils.data.Dataset`; or a dict of such splits: train, validation, test
        stores: the number of stores; or their data sets, in a dict by name or a list
        partition: `iid`, `dirichlet:0.5` ...; or a function of (labels, stores, rng) that returns
            a list of positions for each store
        model: a name; an `nn.Module`, which gives the initial weights; or a class or function that
            makes one from `num_classes`, and `image_size` and `channels` if it has these parameters
        strategy: a name, or a class derived from `fedshelf.Strategy`
        augmentation: a function of (pixels, numbers), or a class whose objects are called so
        rounds: of training
        seed: from which all randomness of the run derives
        out: run directory; None: a new one below runs/
        classes: names of the classes, in the order of the labels
        metrics: further metrics: names, or objects of a class derived from `fedshelf.Metric`
        callbacks: functions that are called after each round
        resume: directory of a run to go on with; objects of its own must be given again
        progress: whether to show the rounds
        settings: any setting, as SECTION_NAME: `train_lr=0.05` is train.lr

    Raises:
        FedshelfError: settings, data or objects cannot be used, or the run cannot go on
            (`fedshelf.common.errors`).
    """
    from fedshelf.simulations.python.simulating import simulate as simulate_run

    arguments = {
        "dataset": dataset,
        "stores": stores,
        "partition": partition,
        "model": model,
        "strategy": strategy,
        "augmentation": augmentation,
        "rounds": rounds,
        "seed": seed,
        "out": out,
        "classes": classes,
        "metrics": metrics,
    }
    return simulate_run(arguments, settings, callbacks, resume, progress=progress)


def compare(
    dataset: Any = None,
    stores: int | Mapping[str, Any] | Sequence[Any] | None = None,
    partition: str | Callable[..., Any] | None = None,
    model: Any = None,
    strategy: "str | type[Strategy] | None" = None,
    *,
    augmentation: Any = None,
    seeds: Sequence[int] = (),
    tune_epochs: int | None = None,
    tune_lr: float | None = None,
    leave_one_out: bool = False,
    rounds: int | None = None,
    seed: int | None = None,
    out: str | PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    metrics: Sequence[Any] = (),
    resume: str | PathLike[str] | None = None,
    progress: bool = True,
    **settings: Any,
) -> "Study":
    """Compare the federated model with each store alone and with pooled images.

    It is `flower-simulation compare`; arguments that are not described here are those of
    `simulate`.

    Args:
        seeds: everything is trained and judged for each of them
        tune_epochs: epochs for which each store fine-tunes the federated model; None: 2
        tune_lr: learning rate of the fine-tuning; None: a fifth of train_lr
        leave_one_out: whether to train once more without each store

    Raises:
        FedshelfError: settings, data or objects cannot be used.
    """
    from fedshelf.simulations.python import studies

    arguments = {
        "dataset": dataset,
        "stores": stores,
        "partition": partition,
        "model": model,
        "strategy": strategy,
        "augmentation": augmentation,
        "rounds": rounds,
        "seed": seed,
        "out": out,
        "classes": classes,
        "metrics": metrics,
    }
    options = {
        "seeds": seeds,
        "tune_epochs": tune_epochs,
        "tune_lr": tune_lr,
        "leave_one_out": leave_one_out,
    }
    return studies.compare(arguments, settings, options, resume, progress=progress)


def sweep(
    dataset: Any = None,
    stores: int | Sequence[int] | None = None,
    partition: str | Sequence[str] | None = None,
    model: Any = None,
    strategy: Any = None,
    *,
    augmentation: Any = None,
    seeds: Sequence[int] = (),
    random: int | None = None,
    halving: bool = False,
    jobs: int = 0,
    rounds: int | Sequence[int] | None = None,
    out: str | PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    resume: str | PathLike[str] | None = None,
    progress: bool = True,
    **settings: Any,
) -> "Study":
    """Run a grid of settings with several seeds, and choose on validation images.

    It is `flower-simulation sweep`: `sweep("shelf", train_lr=[0.01, 0.1], seeds=[0, 1, 2])`. Each
    run is a process, so objects of one's own must lie in a module. Arguments that are not described
    here are those of `simulate`; lists of values are swept.

    Args:
        seeds: each point is run once with each; empty: 0
        random: number of points to draw from the grid; None: all of them
        halving: whether points that do worse than others end early
        jobs: runs at a time; 0: one for each processor core, or for each GPU

    Raises:
        FedshelfError: settings or data cannot be used, or all runs failed.
    """
    from fedshelf.simulations.python import studies

    arguments = {
        "dataset": dataset,
        "stores": stores,
        "partition": partition,
        "model": model,
        "strategy": strategy,
        "augmentation": augmentation,
        "rounds": rounds,
        "out": out,
        "classes": classes,
    }
    options = {"seeds": seeds, "random": random, "halving": halving, "jobs": jobs}
    return studies.sweep(arguments, settings, options, resume, progress=progress)


def runs(folder: str | PathLike[str] = "runs") -> "list[SimulatedRun]":
    """Return all runs in a folder, the newest first.

    Raises:
        RunError: there is none.
    """
    from fedshelf.simulations.python.listed_runs import list_runs

    return list_runs(folder)


def settings(word: str = "") -> dict[str, str]:
    """Return the settings of a section, or those that have a word, with their meaning.

    The keys are the keyword arguments of `simulate`: {"train_lr": "learning rate of ..."}.

    Raises:
        ConfigError: no setting has the word.
    """
    from fedshelf.simulations.python.settings import keyword
    from fedshelf.simulations.run.list_settings import find_settings

    return {keyword(each.key): each.meaning for each in find_settings(word)}


def load(
    model: str | PathLike[str] | Sequence[str | PathLike[str]],
    device: str = "auto",
    *,
    network: Any = None,
) -> "FinishedModel":
    """Return a finished model: `fedshelf.load("shop.onnx").predict(["photo.jpg"])`.

    Args:
        model: the directory of a run, its `model.safetensors`, or an exported ONNX file, which
            needs no PyTorch; or several of them, which then answer together
        device: auto, cpu, mps, cuda or cuda:N
        network: the class, function or module that the run was given as its model, if it was one
            of your own: a file never decides which code is imported

    Raises:
        FedshelfError: the model cannot be used here, or is of another network.
    """
    from fedshelf.common.inference.finished_model import open_finished

    return open_finished(model, device, network=network)
