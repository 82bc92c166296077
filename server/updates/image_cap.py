"""The cap on the number of images that a store counts for.

A store's own claim decides its weight, and nobody can check the claim.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from fedshelf.common.config import STORES_OWN, RunConfig
from fedshelf.common.protocol.messages import Evaluation, StoreInfo

DEFAULT_IMAGES_FACTOR = 10.0  # with real stores, if screening.images_factor is not set


def most_images(config: RunConfig, stores: Mapping[str, StoreInfo]) -> int | None:
    """Return how many training images a store counts for at most; None: for as many as it has."""
    return most_of(config, (info.num_examples for info in stores.values()))


def most_of(config: RunConfig, claimed: Iterable[int]) -> int | None:
    """Return how many of the images `claimed` by a store count at most; None: all.

    The cap is `screening.images_factor` times the median of all stores that are there (the lower
    middle one of an even number). So fewer than half of the stores cannot raise it by claiming
    more. One store alone is its own median and is never capped.
    """
    factor = config.screening.images_factor or (
        DEFAULT_IMAGES_FACTOR if config.data.dataset == STORES_OWN else 0.0
    )
    images = sorted(claimed)
    if not factor or not images:
        return None
    return max(1, int(factor * images[(len(images) - 1) // 2]))


def capped(info: StoreInfo, most: int | None) -> StoreInfo:
    """Return a store's images as they count: at most `most` for training.

    They keep the proportions of its classes.
    """
    images = info.num_examples
    if most is None or images <= most:
        return info
    counts = {label: count * most // images for label, count in info.counts.items()}
    return replace(info, counts=counts, undisclosed_images=most - sum(counts.values()))


def describe_cap(claimed: int, counted: int, kind: str = "training") -> str:
    """Return the sentence that a store is capped, and the remedy if it is honest.

    A factor is fixed for a run.
    """
    return (
        f"it says it has {claimed} {kind} images and counts for {counted}; if it really has so many"
        " more than others, raise screening.images_factor in a new run"
    )


class ImageCap:
    """Applies the cap to the stores of a run, and names each capped store once per kind."""

    def __init__(self, config: RunConfig, note: Callable[[str], None]) -> None:
        self._config = config
        self._note = note
        self._named: set[tuple[str, str]] = set()

    def applied(
        self, present: Mapping[str, StoreInfo], cohort: Mapping[str, StoreInfo]
    ) -> dict[str, StoreInfo]:
        """Return all present stores with their counted images.

        Name those `cohort` to train that are capped.
        """
        most = most_images(self._config, present)
        counted = {store: capped(info, most) for store, info in present.items()}
        for store, info in cohort.items():
            self._name(store, "training", info.num_examples, counted[store].num_examples)
        return counted

    def judged(
        self, evaluations: Mapping[str, Evaluation], claimed: Mapping[str, int], kind: str
    ) -> dict[str, Evaluation]:
        """Return the stores' evaluations with their counted images, in the same order.

        Name the capped stores.

        Args:
            claimed: images of this kind ("validation", "test") that each store has said to hold
                out, of the stores that have any
        """
        most = most_of(self._config, claimed.values())
        if most is None:
            return dict(evaluations)
        counted = {store: _counted(evaluation, most) for store, evaluation in evaluations.items()}
        for store, evaluation in evaluations.items():
            self._name(
                store, kind, evaluation.counts.num_examples, counted[store].counts.num_examples
            )
        return counted

    def _name(self, store: str, kind: str, claimed: int, counted: int) -> None:
        if counted < claimed and (store, kind) not in self._named:
            self._named.add((store, kind))
            self._note(f"{store}: {describe_cap(claimed, counted, kind)}.")


def _counted(evaluation: Evaluation, most: int) -> Evaluation:
    adjusted = evaluation.adjusted and evaluation.adjusted.at_most(most)
    return replace(evaluation, counts=evaluation.counts.at_most(most), adjusted=adjusted)
