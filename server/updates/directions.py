"""Find the updates that point elsewhere than what their stores' classes explain.

Honest stores that sell different classes teach different things, so that no common direction is usual. But those with
like mixes of classes go like ways: a regression over the mixes predicts each update's direction from the others'.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.parameters.aggregation import BLOCK, VectorSequence

MAX_COORDINATES = 2**24  # coordinates of all updates together that a round looks at, evenly spread: 64 MiB
MIX_RIDGE = 0.3  # of the regression; 1 is how much an update says of a store with the very same mix
OWN_WAY = 0.1  # cosine with its prediction below which an update points elsewhere ...
SURE, SLOPE = 0.6, 2.0  # ... if the prediction is as long as this; for shorter ones so many times the difference lower

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stray:
    """An update that points elsewhere. cosine: with what the others predict"""

    cosine: float
    usual: float


def gram(start: Tensor, vectors: VectorSequence) -> Floats:
    """Inner products [n, n] of the differences v_i - start of n vectors [P]; of long ones, of every k-th block."""
    stride = max(1, -(-len(start) * len(vectors) // MAX_COORDINATES)) * BLOCK
    device = vectors[0].device
    products = torch.zeros(len(vectors), len(vectors), dtype=torch.float64, device=device)
    for begin in range(0, len(start), stride):
        end = min(begin + BLOCK, len(start))
        block = torch.stack([vectors.piece(number, begin, end) for number in range(len(vectors))]).double()
        block = block - start[begin:end].to(device)  # the square of a float32 of 1e20 is none any more
        products += block @ block.T
    found: Floats = products.cpu().numpy()
    return found


def predicted(products: Floats, mixes: Floats) -> tuple[Floats, Floats]:
    """Cosine of each update with its prediction from the others, and the length of that, each [n].

    With u_i the updates' unit vectors, m_i [C] the stores' shares of the classes and k_ij = <sqrt m_i, sqrt m_j>, ridge
    regression predicts u_i from the others (Rasmussen and Williams 2006, equation 5.12):

        A = (K + MIX_RIDGE I)^-1,   p_i = -sum_{j != i} A_ij u_j / A_ii

    |p_i| is near 1 where many stores with such a mix agree, and near 0 where there are none, or they do not.
    products: [n, n] of the updates; mixes: [n, C]
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
    """Updates that point elsewhere, by place.

    The one that does most is left out and the others are looked at anew, as it has a part in their predictions; until
    none does, or fewer than `fewest` are left. Those that changed nothing have no direction.
    """
    found: dict[int, Stray] = {}
    left = np.flatnonzero(np.diag(products) > 0)
    while len(left) >= fewest:
        cosines, lengths = predicted(products[np.ix_(left, left)], mixes[left])
        over = cosines - (OWN_WAY - SLOPE * np.maximum(0.0, SURE - lengths))
        worst = int(over.argmin())
        if over[worst] >= 0:
            break
        found[int(left[worst])] = Stray(float(cosines[worst]), float(np.median(cosines)))
        left = np.delete(left, worst)
    return found
