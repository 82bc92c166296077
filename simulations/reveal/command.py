"""The command `flower-simulation reveal`, from settings to `reveal.json` and `report.html`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fedshelf.common.config import flatten, resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.images.types import Images
from fedshelf.common.system import device
from fedshelf.common.system.files import write_json
from fedshelf.common.wording import format_count
from fedshelf.server.results.run_directory import RunDirectory, free_name
from fedshelf.server.settings import recipes
from fedshelf.server.settings.own_code import check_own_code
from fedshelf.server.training.resume_model import adopt
from fedshelf.server.training.setup import InitialState, prepare, settle
from fedshelf.simulations import datasets
from fedshelf.simulations.federation import federation
from fedshelf.simulations.federation.partitioned import pool_images
from fedshelf.simulations.reveal import page
from fedshelf.simulations.reveal.class_shares import measure_class_shares
from fedshelf.simulations.reveal.inversion import Inversion, can_invert, invert
from fedshelf.simulations.reveal.membership import measure_membership
from fedshelf.simulations.reveal.protections import (
    Privacy,
    summed,
    with_privacy,
    without_privacy,
)
from fedshelf.simulations.reveal.server_view import ServerView
from fedshelf.simulations.reveal.words import headline
from fedshelf.simulations.run.features import feature_extractor
from fedshelf.simulations.run.own_code import allow_named

MOST_IMAGES = 200  # of a store, if none is given: more take longer and reveal less of each
FEWEST_IMAGES = 8
INVERTED = (1, 8, 64)  # photos of an update that are redrawn
MOST_REDRAWN = 64  # photos at a time, of all stores in a sum

ProgressOf = Callable[[str], Callable[[int, int], None]]
"""Maps the name of an attack to a function that takes (done, total)."""


def reveal(settings: Mapping[str, Any], images: int, console: Console) -> dict[str, Any]:
    """Attack updates of a run with these settings, and write the results.

    Args:
        settings: flat settings
        images: training images of a store; 0: those of the median store, at most 200
        console: gets the sentences

    Returns:
        The content of `reveal.json`.

    Raises:
        FedshelfError: the settings or the data cannot be used, or the directory is not free.
    """
    start, pool, sizes = open_run(without_privacy(settings), console)
    config = start.plan.config
    out = Path(config.run.out) if config.run.out else free_name(Path("runs") / "reveal")
    RunDirectory.check_new(out)
    size = _store_size(images, sizes, len(pool))
    seed = config.run.seed
    view = ServerView.of_run(start, pool)
    figures, inversions = dict[str, Any](), dict[str, list[Inversion]]()
    with _progress(console) as of:
        figures["none"], inversions["none"] = _attack(view, size, seed, of)
        sums = summed(view, size, seed, of("Updates of other stores"))
        figures["sum"], inversions["sum"] = _attack(sums, size, seed, of)
        figures["sum"]["stores"] = sums.stores
    if (private := _private_view(settings, console)) is not None:
        with _progress(console) as of:
            figures["dp"], inversions["dp"] = _attack(private, size, seed, of)
        private_config = private.order.plan.config
        figures["dp"] |= asdict(Privacy.of_update(private_config.privacy))
        figures["dp"]["settings"] = flatten(private_config)
    results = {"dataset": config.data.dataset, "settings": flatten(config)}
    results |= figures.pop("none") | {"protected": figures}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / page.RESULTS_FILE, results)
    page.write(out, results, inversions)
    for sentence in headline(results):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Report: {out / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
    return results


def _private_view(settings: Mapping[str, Any], console: Console) -> ServerView | None:
    """Return the view of a run with private training; None, and a sentence, if it cannot be."""
    try:
        start, pool, _ = open_run(with_privacy(settings), Console(quiet=True))
    except ConfigError as error:
        console.print(
            f"Not measured with differential privacy: {error}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return None
    return ServerView.of_run(start, pool)


def open_run(
    settings: Mapping[str, Any], console: Console
) -> tuple[InitialState, Images, list[int]]:
    """Return the start of a run, the training photos of all its stores, and the stores' sizes.

    Raises:
        ConfigError: the photos show many products each, or a setting is invalid.
    """
    allow_named(settings)
    inherited = adopt(dict(settings))
    source = datasets.find(resolve(inherited).data)
    if source.are_scenes:
        raise ConfigError(
            f"reveal redraws photos of one class each, got {source.name}, whose photos show many"
            " products; give --dataset PHOTOS with photos of single products."
        )
    is_photos = source.native_size is None
    completed = recipes.complete(dict(settings), photos=is_photos, inherited=inherited)
    config = resolve(completed.settings)
    config = resolve(flatten(config), {"run.device": str(device.pick_device(config.run.device))})
    config = settle(config, source.native_size, source.channels)
    stores = federation.build(config, image_size=config.data.image_size, channels=source.channels)
    network_note = check_own_code(config, len(stores.classes), source.channels)
    start = prepare(config, stores.classes, source.channels)
    note = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    for line in filter(None, (completed.note, network_note)):
        note(line)
    if extractor := feature_extractor(start, note):
        stores = stores.with_features(extractor)
    pool = pool_images([stores.stores[name].train for name in stores.stores])
    return start, pool, [sum(counts) for counts in stores.table.values()]


def _store_size(images: int, sizes: Sequence[int], pool: int) -> int:
    """Return the number of a store's photos to attack with.

    Args:
        images: as asked for; 0: the median store's, at most `MOST_IMAGES`
        sizes: of the run's stores
        pool: number of all photos

    Raises:
        ConfigError: too few or too many were asked for.
        DataError: there are too few photos in all.
    """
    most = pool // 2
    if most < FEWEST_IMAGES:
        raise DataError(
            f"There are {pool} training photos; expected at least {2 * FEWEST_IMAGES}, half of them"
            " for the server to compare with."
        )
    if images and not FEWEST_IMAGES <= images <= most:
        raise ConfigError(
            f"--images got {images}; expected {FEWEST_IMAGES} to {most}, half of the {pool} photos."
        )
    return images or max(FEWEST_IMAGES, min(MOST_IMAGES, int(median(sizes)), most))


def _attack(
    view: ServerView, images: int, seed: int, of: ProgressOf
) -> tuple[dict[str, Any], list[Inversion]]:
    """Carry out all attacks; return results as JSON values, and the redrawn photos."""
    membership = measure_membership(view, images, seed, of("Which photos were there?"))
    shares = measure_class_shares(view, images, seed, of("Which classes are there?"))
    inversions = []
    if can_invert(view):
        for photos in (count for count in INVERTED if count <= images):
            if photos * view.stores <= MOST_REDRAWN:
                redrawn = of(f"What do they look like, {format_count(photos, 'photo')}?")
                inversions.append(invert(view, photos, seed, redrawn))
    results = {
        "images": membership.images,
        "closed_form": view.closed_form,
        "membership": asdict(membership)
        | {"named": {str(size): share for size, share in membership.named.items()}},
        "classes": asdict(shares),
        "inversion": [
            {
                "photos": each.photos,
                "decibels": list(each.decibels),
                "named": each.named,
                "candidates": each.candidates,
            }
            for each in inversions
        ],
    }
    return results, inversions


@contextmanager
def _progress(console: Console) -> Iterator[ProgressOf]:
    """Show a bar for each attack, if the console is a terminal, until the context ends.

    Yields:
        A function from an attack's name to one that takes (done, total).
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:

        def of(name: str) -> Callable[[int, int], None]:
            task = progress.add_task(name, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield of
