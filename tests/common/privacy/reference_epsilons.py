"""Reference values of epsilon, by dp-accounting (PLD) and Opacus (RDP), as CSV on stdout.

dp-accounting needs an attrs that other packages here do not take, so the values are made apart:

    python -m venv /tmp/reference
    /tmp/reference/bin/pip install dp-accounting==0.6.0 'attrs<24' opacus==1.6.0
    /tmp/reference/bin/python tests/common/privacy/reference_epsilons.py \
        > tests/common/privacy/reference_epsilons.csv
"""

import csv
import random
import sys
from collections.abc import Iterator

from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.pld import PLDAccountant
from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

DELTA = 1e-5
OPACUS_ORDERS = (*(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64))  # its default
ORDERS = (1.5, 4, 32)  # at which the divergence of one step is compared
EPSILONS = (0.2, 20)  # a smaller or larger one is of no use


def settings() -> Iterator[tuple[float, float, int]]:
    """Yield noise, rate and steps: every photo is drawn at least once, on average."""
    generator = random.Random(0)
    while True:
        noise = round(10 ** generator.uniform(-0.2, 1), 3)
        rate = round(10 ** generator.uniform(-2.7, 0), 4)
        steps = round(10 ** generator.uniform(0, 3.7))
        if rate * steps >= 1:
            yield noise, rate, steps


def main() -> None:
    """Print 250 rows."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = [f"divergence_{order:g}" for order in ORDERS]
    writer.writerow(["noise", "rate", "steps", "pld", "opacus", *columns])
    rows = 0
    for noise, rate, steps in settings():
        step = {"q": rate, "noise_multiplier": noise}
        total = compute_rdp(**step, steps=steps, orders=OPACUS_ORDERS)
        opacus, _ = get_privacy_spent(orders=OPACUS_ORDERS, rdp=total, delta=DELTA)
        if not EPSILONS[0] <= opacus <= EPSILONS[1]:
            continue
        pld = PLDAccountant().compose(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)), steps)
        divergences = compute_rdp(**step, steps=1, orders=ORDERS)
        values = (pld.get_epsilon(DELTA), opacus, *divergences)
        writer.writerow([noise, rate, steps, *(f"{value:.9g}" for value in values)])
        rows += 1
        if rows == 250:
            return


if __name__ == "__main__":
    main()
