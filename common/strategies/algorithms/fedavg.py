"""FedAvg: the weighted mean of the stores' models.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas: Communication-Efficient Learning of Deep Networks
from Decentralized Data. AISTATS 2017, Algorithm 1.

    w_{t+1} = sum_k (n_k / n) w_{t+1}^k        n_k: images of store k; or all n_k equal
"""

from typing import ClassVar

from fedshelf.common.strategies.shared.base import Strategy


class FedAvg(Strategy):
    """The mean of the stores' weights, by images or uniformly."""

    uses: ClassVar = frozenset({"weighting", "absent_classes"})
