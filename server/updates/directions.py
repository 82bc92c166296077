"""Updates whose direction differs from the one that their stores' classes explain.

Honest stores that sell different classes teach different things, so there is no usual direction for
all. But stores with similar mixes of classes have similar directions: a regression over the mixes
predicts each update's direction from the others'.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.parameters.aggregation import BLOCK_COORDINATES, VectorSequence

# coordinates of all updates together that a round looks at, evenly spread: 64 MiB
MAX_COORDINATES = 2**24
MIX_RIDGE = 0.3  # ridge of the regression, where k_ij of two stores with the very same mix is 1
OWN_WAY = 0.1  # an update points elsewhere if its cosine with the prediction is below this ...
# ... and the prediction has at least the length SURE; else the limit is lower by SLOPE times the
# missing length.
SURE = 0.6
SLOPE = 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stray:
    """An update whose direction differs from its prediction.

    Attributes:
        cosine: with the direction that the others predict
        usual: median cosine of the updates
    """

    cosine: float
    usual: float


def gram(start: Tensor, vectors: VectorSequence) -> Floats:
    """Return the inner products [n, n] of the differences v_i - start of n vectors [P].

    Of long vectors only every k-th block is used. start: float32 [P]
    """
    stride = max(1, -(-len(start) * len(vectors) // MAX_COORDINATES)) * BLOCK_COORDINATES
    device = vectors[0].device
    products = torch.zeros(len(vectors), len(vectors), dtype=torch.float64, device=device)
    for begin in range(0, len(start), stride):
        end = min(begin + BLOCK_COORDINATES, len(start))
        block = torch.stack(
            [vectors.vector_slice(index, begin, end) for index in range(len(vectors))]
        ).double()
        # after .double(): the square of 1e20 overflows float32
        block = block - start[begin:end].to(device)
        products += block @ block.T
    result: Floats = products.cpu().numpy()
    return result


def predicted(products: Floats, mixes: Floats) -> tuple[Floats, Floats]:
    """Return the cosine of each update with its prediction from the others, and the lengths.

    The lengths are those of the predictions. Both are [n].

    With u_i the updates' unit vectors, m_i [C] the stores' shares of the classes and k_ij = <sqrt
    m_i, sqrt m_j>, ridge regression predicts u_i from the others (Rasmussen and Williams 2006,
    equation 5.12):

        A = (K + MIX_RIDGE I)^-1,   p_i = -sum_{j != i} A_ij u_j / A_ii

    |p_i| is near 1 if many stores with such a mix agree, and near 0 if there are none or they
    disagree.

    Args:
        products: [n, n], inner products of the updates
        mixes: [n, C], shares of the classes
    """
    roots = np.sqrt(mixes)
    inverse = np.linalg.inv(roots @ roots.T + MIX_RIDGE * np.eye(len(roots)))
    weights = -inverse / np.diag(inverse)[:, None]
    np.fill_diagonal(weights, 0)
    norms = np.sqrt(np.diag(products))
    units = products / np.outer(norms, norms)
    lengths = np.sqrt(np.maximum(1e-12, np.einsum("ij,jk,ik->i", weights, units, weights)))
    return np.einsum("ij,ij->i", weights, units) / lengths, lengths


def strays(products: Floats, mixes: Floats, fewest: int) -> Mapping[int, Stray]:
    """Return the updates whose direction differs from their prediction, by place.

    The update that differs most is left out, because it has a part in the others' predictions, and
    the rest is examined again, until none differs or fewer than `fewest` are left. Updates that
    changed nothing have no direction.

    Args:
        products: float64 [n, n], inner products of the updates
        mixes: float64 [n, C], each store's shares of the classes
        fewest: number of updates below which nothing can be said
    """
    strays_found: dict[int, Stray] = {}
    left = np.flatnonzero(np.diag(products) > 0)
    while len(left) >= fewest:
        cosines, lengths = predicted(products[np.ix_(left, left)], mixes[left])
        over = cosines - (OWN_WAY - SLOPE * np.maximum(0.0, SURE - lengths))
        worst = int(over.argmin())
        if over[worst] >= 0:
            break
        strays_found[int(left[worst])] = Stray(float(cosines[worst]), float(np.median(cosines)))
        left = np.delete(left, worst)
    return strays_found
