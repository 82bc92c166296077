"""The command `flower-simulation compare`, from settings to `compare.json` and `report.html`."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from fedshelf.common.classes import display_names
from fedshelf.common.classes.display_names import ProductNames
from fedshelf.common.config import RunConfig, flatten, resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.native import compiler
from fedshelf.common.system import device
from fedshelf.server.results.delivered_round import has_validation
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.settings.own_code import check_own_code
from fedshelf.server.settings.precision import settle_precision
from fedshelf.server.training.robustness_guarantee import check_cohort
from fedshelf.server.training.selection_images import is_chosen, nothing_to_choose_on
from fedshelf.server.training.setup import prepare, settle
from fedshelf.simulations import datasets
from fedshelf.simulations.compare import page, terminal
from fedshelf.simulations.compare.arms.arms import Options, plan_arms
from fedshelf.simulations.compare.contributions import measure_contributions
from fedshelf.simulations.compare.held_out import hold_out
from fedshelf.simulations.compare.outcomes import ComparisonResults, SeedOutcome
from fedshelf.simulations.compare.request import (
    ComparisonRequest,
    agree_on_options,
    prepare_comparison,
)
from fedshelf.simulations.compare.results import to_json_values
from fedshelf.simulations.compare.trainer import ArmTrainer
from fedshelf.simulations.engines.sequential import num_workers
from fedshelf.simulations.federation import federation, fingerprint
from fedshelf.simulations.federation.federation import Federation
from fedshelf.simulations.federation.tables import partition_table
from fedshelf.simulations.partitions import parse_partition
from fedshelf.simulations.run.features import feature_extractor
from fedshelf.simulations.run.simulate import NO_COMPILER

COMPARE_FILE = "compare.json"


@dataclass(frozen=True)
class _Comparison:
    """A comparison that can begin, or go on.

    Attributes:
        config: with the first of its seeds
        first: the stores that the first seed deals
        names: product names of the classes
        channels: of the images
    """

    config: RunConfig
    options: Options
    first: Federation
    names: ProductNames
    channels: int
    directory: RunDirectory
    console: Console

    def seed(self, seed: int) -> tuple[RunConfig, Federation]:
        """Return the settings for a seed, and the stores that it deals.

        Raises DataError or ConfigError.
        """
        if seed == self.config.run.seed:
            return self.config, self.first
        config = resolve(flatten(self.config), {"run.seed": seed})
        return config, federation.build(
            config, image_size=config.data.image_size, channels=self.channels
        )


def compare(request: ComparisonRequest, console: Console) -> bool:
    """Run or resume a comparison.

    Args:
        request: the options of the command line
        console: gets the progress and the results

    Returns:
        Whether the comparison is finished; False: a person stopped it.

    Raises:
        FedshelfError: the settings or the data cannot be compared, or an arm cannot go on.
    """
    path, config = prepare_comparison(request)
    config = resolve(flatten(config), {"run.device": str(device.pick_device(config.run.device))})
    source = datasets.find(config.data)
    config = settle(config, source.native_size, source.channels)
    config, precision_note = settle_precision(config, source.channels)
    stores = federation.build(config, image_size=config.data.image_size, channels=source.channels)
    _check(config, stores)
    network_note = check_own_code(config, len(stores.classes), source.channels)
    unknown = display_names.check_classes(request.names or {}, stores.classes)
    with closing(RunDirectory.open(path, config, request.settings)) as directory:
        fingerprint.check(
            directory, fingerprint.fingerprint_of(stores), "or begin a new comparison"
        )
        options = agree_on_options(request, config, directory)
        names = display_names.choose_for_run(path, request.names)
        if unknown:
            console.print(unknown, markup=False)
        for note in filter(None, (precision_note, network_note)):
            console.print(note, markup=False)
        if not request.resume:
            _print_intro(config, stores, names, console)
        comparison = _Comparison(
            config, options, stores, names, source.channels, directory, console
        )
        try:
            is_finished = _all_seeds(comparison)
        except KeyboardInterrupt:
            terminal.print_how_to_resume(path, console)
            raise
        if not is_finished:
            terminal.print_how_to_resume(path, console)
        return is_finished


def _all_seeds(comparison: _Comparison) -> bool:
    """Train and judge seed after seed, reporting those that are done; return whether all are."""
    done: list[SeedOutcome] = []
    comparison_json: Mapping[str, object] = {}
    is_partitioned = parse_partition(comparison.config.data.partition) is not None
    for seed in comparison.options.seeds:
        outcome = _one_seed(comparison, seed, [f"seed {outcome.seed}" for outcome in done])
        if outcome is None:
            return False
        done.append(outcome)
        comparison_json = _report(comparison, ComparisonResults(done, is_dealt=is_partitioned))
    terminal.print_results(comparison_json, comparison.directory.path, comparison.console)
    return True


def _one_seed(comparison: _Comparison, seed: int, finished: Sequence[str]) -> SeedOutcome | None:
    """Train and judge all arms of a seed; return None if that was stopped before its end."""
    config, federation = comparison.seed(seed)
    stores, held_out = hold_out(federation, seed)
    start = prepare(config, stores.classes, comparison.channels)  # all arms have its frozen part
    if extractor := feature_extractor(
        start, partial(comparison.console.print, markup=False, soft_wrap=True)
    ):
        stores = stores.with_features(extractor)
        held_out = held_out.with_features(extractor)
    path = comparison.directory.path
    name = f"seed {seed}"
    arms = plan_arms(config, stores, comparison.options, path / f"seed-{seed}")
    workers = min(num_workers(config), len(arms))
    with closing(
        ArmTrainer(
            arms,
            held_out,
            path / f"seed-{seed}",
            comparison.names,
            workers=workers,
            channels=comparison.channels,
        )
    ) as trainer:
        try:
            outcomes = terminal.follow(trainer, name, comparison.console)
        except KeyboardInterrupt:
            terminal.print_stopped(trainer, name, finished, comparison.console)
            raise
        if not all(
            arm_number in outcomes and outcomes[arm_number].is_finished
            for arm_number in range(len(arms))
        ):
            terminal.print_stopped(trainer, name, finished, comparison.console)
            return None
    return SeedOutcome(seed, stores, held_out, arms, outcomes)


def _report(comparison: _Comparison, results: ComparisonResults) -> Mapping[str, object]:
    """Write the results of the seeds that are done, and return them."""
    comparison_json = to_json_values(comparison.config, comparison.options, results)
    if contributions := measure_contributions(results):
        comparison_json["contributions"] = contributions
    comparison.directory.write(COMPARE_FILE, comparison_json)
    page.write(comparison.directory.path)
    return comparison_json


def _print_intro(
    config: RunConfig, stores: Federation, names: ProductNames, console: Console
) -> None:
    """Print what a person should know before it begins."""
    console.print(partition_table(stores, names, console.width))
    if stores.left_out:
        console.print(stores.left_out, markup=False)
    if config.run.device == "cpu" and not compiler.has_compiler():
        console.print(NO_COMPILER, markup=False)


def _check(config: RunConfig, stores: Federation) -> None:
    """Check that the settings can be compared; raise DataError or ConfigError if not."""
    if len(stores.stores) < 2:
        raise DataError(
            "A comparison needs at least two stores, got one; give --stores, or another folder of"
            " them."
        )
    check_cohort(config, len(stores.stores))
    if config.train.objective != "classes":
        raise ConfigError(
            "A comparison is about product classes, got train.objective"
            f" {config.train.objective}; leave it out, and give the model of such a run as"
            " model.weights."
        )
    if config.train.seconds:
        raise ConfigError(
            "A comparison gives all models the same number of passes over their images, got"
            f" the time limit train.seconds {config.train.seconds:g}; leave it out."
        )
    if config.privacy.secure_sum:
        raise ConfigError(
            "A comparison also trains each store by itself, got privacy.secure_sum, which hides a"
            " store among others; leave it out: the joint model differs by rounding alone."
        )
    if is_chosen(config) and not has_validation(
        config, hold_out(stores, config.run.seed)[0].infos()
    ):
        raise ConfigError(nothing_to_choose_on(config))
    if config.run.engine == "ray" or config.run.ray_address:
        raise ConfigError(
            "A comparison trains its parts on the cores or the GPU of this machine, got the engine"
            " ray; leave it out, or train parts by themselves with flower-simulation run."
        )
