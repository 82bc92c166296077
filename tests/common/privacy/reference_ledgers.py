"""Bounds of epsilon from below and above, by dp-accounting's privacy loss distributions, as CSV.

A ledger has steps of one or several mechanisms. "least" is by the optimistic grid, "most" by the
pessimistic one; the truth is between them. Made apart, as `reference_epsilons.py`:

    /tmp/reference/bin/python tests/common/privacy/reference_ledgers.py \
        > tests/common/privacy/reference_ledgers.csv
"""

import csv
import math
import random
import sys
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path

from dp_accounting.pld import privacy_loss_distribution as pld

Mechanism = tuple[float, float, int]
"""Noise, rate and steps."""

SETTINGS = Path(__file__).parent / "reference_epsilons.csv"
LEDGERS = 8  # of several mechanisms, beside the settings of one
EVERY = 5  # setting of the other reference is taken
DELTAS = (1e-4, 1e-5, 1e-6, 1e-8)
MOST = 20  # a larger epsilon is of no use
FINEST = 1e-6  # spacing of losses


def settings() -> Iterator[tuple[Sequence[Mechanism], float]]:
    """Yield settings of the other reference, with their delta."""
    with SETTINGS.open(encoding="utf-8") as file:
        for row in list(csv.DictReader(file))[::EVERY]:
            yield [(float(row["noise"]), float(row["rate"]), int(row["steps"]))], 1e-5


def ledgers() -> Iterator[tuple[Sequence[Mechanism], float]]:
    """Yield mechanisms that one life composes, with a delta; one in five draws all photos."""
    generator = random.Random(1)
    while True:
        ledger = []
        for _ in range(generator.randint(2, 5)):
            noise = round(10 ** generator.uniform(-0.1, 1.3), 3)
            if generator.random() < 0.2:
                ledger.append((noise, 1.0, generator.randint(1, 3)))
            else:
                rate = round(10 ** generator.uniform(-2.7, -0.3), 4)
                ledger.append((noise, rate, round(10 ** generator.uniform(0, 3.5))))
        yield ledger, generator.choice(DELTAS)


def epsilon(ledger: Sequence[Mechanism], delta: float, *, is_upper: bool) -> float:
    """Return a bound of epsilon. The optimistic grid is coarser by its nature."""
    spacing = 1e-4 if is_upper else 3e-5
    for noise, rate, _ in ledger:
        spacing = min(
            spacing, (0.03 if is_upper else 0.01) * rate * math.sqrt(math.expm1(noise**-2))
        )
    composed = [
        pld.from_gaussian_mechanism(
            noise,
            value_discretization_interval=max(spacing, FINEST),
            pessimistic_estimate=is_upper,
            sampling_prob=rate,
        ).self_compose(steps)
        for noise, rate, steps in ledger
    ]
    return float(
        reduce(lambda one, other: one.compose(other), composed).get_epsilon_for_delta(delta)
    )


def main() -> None:
    """Print a row for each of the settings of one mechanism, and for each ledger."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["ledger", "delta", "least", "most"])
    several = 0
    for is_single, source in ((True, settings()), (False, ledgers())):
        for ledger, delta in source:
            most = epsilon(ledger, delta, is_upper=True)
            if most > MOST and not is_single:
                continue
            least = epsilon(ledger, delta, is_upper=False)
            words = " ".join("/".join(map(str, mechanism)) for mechanism in ledger)
            writer.writerow([words, delta, f"{least:.9g}", f"{most:.9g}"])
            sys.stdout.flush()
            several += not is_single
            if several == LEDGERS:
                return


if __name__ == "__main__":
    main()
