"""The graph of stores that share masks, the thresholds, and how many stores hide each other.

Up to FULL_GRAPH stores, each store shares a mask with every other. Beyond, each has `degree`
neighbours on a circle whose order is drawn by a hash of all stores' keys (a Harary graph, as in
Bell et al.: Secure Single-Server Aggregation with (Poly)Logarithmic Overhead. CCS 2020): a mask
costs as much as reading the vector once, and so does each mask that the server has to take off for
a store that has gone.

A server that lies may tell stores different things. For the sum of a group G it needs, of each
member, the seed of its own mask, and for each mask shared with a store outside G the key of that
store; of `holders` shares, `threshold` give a secret, and an honest store reveals for another one
either its share of the seed or its share of the key, once. Let n be the stores, m the holders of a
store's shares (its neighbours and itself) and t the threshold.

Nobody's two secrets: both need 2 t shares, and m + c can be had where c holders work with the
server. So t >= 2 m / 3 withstands c < m / 3.

The smallest group, full graph (m = n). A store reveals keys of at most n - t others, as it must see
t survivors. A member of G saw the shares of u >= t stores, of which the u - |G| outside G must have
lost their keys, for t shares each. Members of G reveal at most u - t keys, all others n - t each:

    (u - |G|) t <= |G| (u - t) + (n - |G|) (n - t),  which is easiest for the server with u = t:
    |G| >= (t^2 + n t - n^2) / (2 t - n)

The smallest group, circle. Here a store that misses one neighbour's shares refuses (the server
begins again without the one that has gone), and t >= 3 m / 4. Then no store outside G keeps its
key. For if some did, G and those would be separated by two runs of r = (m - 1) / 2 neighbouring
stores that all lost their keys: r t shares for a run. A store reveals at most m - t ~ r / 2 keys,
and at most as many of the run as it has neighbours there: in all, r/2 from each of the r stores of
the run and of the r/2 on both sides, and r/2 .. 0 from the next r/2 on both sides, 1.25 r^2 < 1.5
r^2. So all n - |G| others have lost their keys, of t shares each, out of n (m - t):

    |G| >= n - n (m - t) / t
"""

from collections.abc import Sequence
from math import ceil, log2

FULL_GRAPH = 100  # most stores that all share masks with each other


def degree(stores: int) -> int:
    """Return the number of neighbours of each store.

    Beyond FULL_GRAPH stores it is about 6 log2 of their number. Then, if a tenth of 1,000 stores
    work with the server, the probability that any neighbourhood has enough of them to open a
    store's update is 2e-14; if a twentieth drops out, a neighbourhood is left with too few in 5 of
    a million rounds (hypergeometric tails, summed over the stores).
    """
    return stores - 1 if stores <= FULL_GRAPH else 2 * ceil(3 * log2(stores))


def holders(stores: int) -> int:
    """Return how many stores hold shares of a store's secrets: its neighbours and itself."""
    return degree(stores) + 1


def neighbours(position: int, stores: int) -> Sequence[int]:
    """Return the positions on the circle of a store's neighbours.

    >>> list(neighbours(1, 4))
    [2, 3, 0]
    """
    if stores <= FULL_GRAPH:
        return [(position + step) % stores for step in range(1, stores)]
    reach = degree(stores) // 2
    return [(position + step) % stores for step in range(-reach, reach + 1) if step]


def smallest_threshold(stores: int) -> int:
    """Return the lowest threshold that stores accept: 2/3 of the holders, or 3/4 on the circle."""
    count = holders(stores)
    return -(-2 * count // 3) if stores <= FULL_GRAPH else -(-3 * count // 4)


def smallest_group(stores: int, threshold: int) -> int:
    """Return how many stores at least are in any sum that a server can come by, even if it lies.

    >>> smallest_group(3, 3), smallest_group(10, 7), smallest_group(30, 20)
    (3, 5, 10)
    """
    count = holders(stores)
    if stores > FULL_GRAPH:
        return stores - stores * (count - threshold) // threshold
    bound = -(-(threshold**2 + stores * threshold - stores**2) // (2 * threshold - stores))
    return min(threshold, max(1, bound))


def choose_threshold(stores: int, least: int) -> int | None:
    """Return the lowest threshold that stores accept who want to be hidden among `least`.

    None if there is none: fewer than `least` stores.
    """
    return next(
        (
            threshold
            for threshold in range(smallest_threshold(stores), holders(stores) + 1)
            if smallest_group(stores, threshold) >= least
        ),
        None,
    )


def enough_sharers(stores: int, threshold: int) -> int:
    """Return how many of a store's holders, itself among them, must have shared their keys."""
    return threshold if stores <= FULL_GRAPH else holders(stores)
