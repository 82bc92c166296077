"""Ridge regression: the head in closed form, from one round of sums.

Fanì, Camoriano, Caputo, Ciccone: Accelerating Heterogeneous Federated Learning with Closed-form
Classifiers. ICML 2024 (Fed3R). Afonin, Karimireddy: Towards Model Agnostic Federated Learning Using
Knowledge Distillation. ICLR 2022 (kernel ridge regression).

With x the D inputs of the head and y the one-hot class of an image, the sums go over the images of
a store, and then over all stores:

    G = sum [x, 1] [x, 1]'    symmetric, so its upper half travels: (D + 1) (D + 2) / 2 numbers
    B = sum y [x, 1]'         the last column counts the images of each class
    w, b = argmin sum_i |w x_i + b - y_i|^2 + l m |w|^2,    m: mean of G's diagonal but its last

The bias b is not penalised. With s = sum x, n images and n_c of class c, it drops out:

    S = sum x x' - s s' / n,   R_c = sum_{y = c} x - n_c s / n
    w_c = (S + l m I)^-1 R_c,  b_c = (n_c - w_c s) / n

`class_weights = balanced` weighs classes equally, though sums cannot be weighed after the fact. All
classes share the scatter of images around the mean m_c of their class; only the means' own part of
G and B gets new numbers of images, n / C in place of each n_c:

    G <- G + sum_c (n / C - n_c) [m_c, 1] [m_c, 1]',    B_c <- (n / C) [m_c, 1]

`ridge_penalty` 0 takes the l with the least generalised cross-validation error (Golub, Heath,
Wahba, Technometrics 1979), which follows from the same sums. E_j and Q are the eigenvalues and
eigenvectors of S, q = Q' R, and T the sum of squares of the centred targets:

    squared error  T - 2 sum_j |q_j|^2 / (E_j + l m) + sum_j E_j |q_j|^2 / (E_j + l m)^2
    f              1 + sum_j E_j / (E_j + l m)          numbers that the fit is free to choose
    error          squared error / (n - f)^2

The scores w x + b estimate probabilities, between 0 and 1 with few exceptions, so that a softmax of
them is nearly flat. Weights and bias are multiplied by SHARPNESS log C; no prediction changes, and
the run's temperature does the rest.

Sums are taken in float64, travel in float32 and are added in float64.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.config.field_types import NonNegative, StrategySettings
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.closed_form.sums import (
    CLASS_SUMS,
    FEATURES_AT_ONCE,
    ClosedForm,
    class_sums,
    count_fault,
    with_ones,
)

GRAM = "gram"  # name of the tensor in an update, as it travels
# 0.001 to 10 in quarters of a decade, the strongest first: it wins a tie
PENALTIES = tuple(10.0 ** (step / 4) for step in range(4, -13, -1))
USUAL_PENALTY = 0.1  # with too few images to choose
# scores are multiplied by this times log C: the least loss on validation photos had 11 for 10
# classes of clothing and 23 for 81 of groceries
SHARPNESS = 5.0
# share by which sums may break a law that they obey but for rounding to float32
ROUNDING = 1e-4
SMALLEST = 1e-18  # of a feature; the square of a smaller one is 0 in float32
# times the trace: a matrix rounded to float32 can have eigenvalues below 0 by 2^-24 of it
EIGENVALUE_ROUNDING = 2.0**-20


class RidgeSettings(StrategySettings):
    """The settings of ridge regression."""

    ridge_penalty: NonNegative = Field(
        0.0,
        description=(
            "strength of the pull of the weights towards 0, as a share of the features' mean"
            " square; 0: chosen by generalised cross-validation"
        ),
    )
    class_weights: Literal["balanced", "none"] = Field(
        "balanced",
        description=(
            "balanced (all classes weigh the same) or none (each weighs as many images as it has)"
        ),
    )


class Ridge(ClosedForm):
    """The head of least squares over all images, the same for any partition."""

    settings: RidgeSettings

    def sum_shapes(self, features: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of G's upper half and of B."""
        return {
            GRAM: ((features + 1) * (features + 2) // 2,),
            CLASS_SUMS: (classes, features + 1),
        }

    def summarise(self, features: Tensor, targets: Tensor) -> Tensors:
        """Return G's upper half and B of N images, float32.

        Args:
            features: float [N, D]
            targets: int64 [N]
        """
        classes, dimensions = self._head_shape
        gram = torch.zeros(dimensions + 1, dimensions + 1, dtype=torch.float64)
        for rows in features.split(FEATURES_AT_ONCE):
            extended = with_ones(rows)
            gram += extended.T @ extended
        return {
            GRAM: pack(gram).float(),
            CLASS_SUMS: class_sums(features, targets, classes).float(),
        }

    def validate_update(self, update: Update, lr: float, config: RunConfig) -> str | None:
        """Return why no images can have these sums; None if they can.

        G must be a sum of squares (no eigenvalue below 0), agree with B and with the number of
        images, and no class may have a longer sum than its number of images and G allow.
        """
        packed, by_class = (update.extras[name].cpu().double() for name in (GRAM, CLASS_SUMS))
        if not (torch.isfinite(packed).all() and torch.isfinite(by_class).all()):
            return "has sums of features that are not finite"
        if (fault := count_fault(by_class[:, -1], update.num_examples)) is not None:
            return fault
        gram = unpack(packed, by_class.shape[1])
        squares = gram.diagonal()
        # sum over a class's images of x_j is at most sqrt(number of images * sum of x_j^2)
        most = (by_class[:, -1:] * squares).clamp(min=0).sqrt() * (1 + ROUNDING) + SMALLEST
        if bool((by_class.abs() > most).any()):
            return "has sums of a class that are larger than its images' features allow"
        allowed = ROUNDING * (squares[-1] * squares).clamp(min=0).sqrt() + SMALLEST
        if bool(((by_class.sum(dim=0) - gram[-1]).abs() > allowed).any()):
            return "has sums by class that do not add up to its sum over all images"
        shift = EIGENVALUE_ROUNDING * float(squares.sum())
        _, failed = torch.linalg.cholesky_ex(gram + shift * torch.eye(len(gram)))
        return "has products of features that no images can have" if int(failed) else None

    def norm(self, update: Update) -> Tensor:
        """Return the root mean square length of the features of the store's images, a scalar."""
        packed = update.extras[GRAM]
        size = update.extras[CLASS_SUMS].shape[1]
        squares = packed[_diagonal(size).to(packed.device)]
        return (squares[:-1].sum() / squares[-1].clamp(min=1)).clamp(min=0).sqrt()

    def solve(self, sums: Tensors, start: Tensor) -> Tensor:
        """Return the head [C, D + 1] of the sums, in float64.

        A class without images gets weights and bias of 0.
        """
        by_class = sums[CLASS_SUMS]
        gram = unpack(sums[GRAM], by_class.shape[1])
        if self.settings.class_weights == "balanced":
            gram, by_class = balanced(gram, by_class)
        spectrum = Spectrum.of(gram, by_class)
        head = spectrum.head(self.settings.ridge_penalty or spectrum.choose_penalty())
        present = int((by_class[:, -1] > 0).sum())
        return SHARPNESS * math.log(max(2, present)) * head


@dataclass(frozen=True)
class Spectrum:
    """The centred regression in the eigenvectors of its scatter matrix: all penalties at once.

    Attributes:
        values: E, eigenvalues of S, [D]
        vectors: Q, [D, D]
        moments: q = Q' R, [D, C]
        feature_sum: s, [D]
        counts: n_c, [C]
        scale: m, mean over the features of their sums of squares
    """

    values: Tensor
    vectors: Tensor
    moments: Tensor
    feature_sum: Tensor
    counts: Tensor
    scale: float

    @classmethod
    def of(cls, gram: Tensor, by_class: Tensor) -> "Spectrum":
        """Return the spectrum of G [D + 1, D + 1] and B [C, D + 1], float64."""
        feature_sum = gram[-1, :-1]
        images = gram[-1, -1]
        counts = by_class[:, -1]
        scatter = gram[:-1, :-1] - torch.outer(feature_sum, feature_sum) / images
        values, vectors = torch.linalg.eigh(scatter)
        centred = by_class[:, :-1] - torch.outer(counts, feature_sum) / images
        scale = float(gram.diagonal()[:-1].mean().clamp(min=torch.finfo(gram.dtype).tiny))
        return cls(values.clamp(min=0), vectors, (centred @ vectors).T, feature_sum, counts, scale)

    def head(self, penalty: float) -> Tensor:
        """Return each class's weights and bias, [C, D + 1]."""
        shrunk = self.moments / (self.values + penalty * self.scale)[:, None]
        weights = (self.vectors @ shrunk).T
        bias = (self.counts - weights @ self.feature_sum) / self.counts.sum()
        return torch.cat([weights, bias[:, None]], dim=1)

    def choose_penalty(self) -> float:
        """Return the penalty of PENALTIES with the least generalised cross-validation error."""
        errors = torch.tensor([self.validation_error(penalty) for penalty in PENALTIES])
        errors = errors.nan_to_num(nan=math.inf)
        return PENALTIES[int(errors.argmin())] if errors.isfinite().any() else USUAL_PENALTY

    def validation_error(self, penalty: float) -> float:
        """Return the generalised cross-validation error of a penalty, per image.

        It is not finite if the fit is free to choose as many numbers as there are images.
        """
        images = self.counts.sum()
        damped = self.values + penalty * self.scale
        squares = self.moments.square().sum(dim=1)
        targets = images - self.counts.square().sum() / images
        rest = targets - (2 * squares / damped - self.values * squares / damped.square()).sum()
        free = images - 1 - (self.values / damped).sum()
        return float(images * rest / free.square()) if free > 0 else math.inf


def balanced(gram: Tensor, by_class: Tensor) -> tuple[Tensor, Tensor]:
    """Return G and B with equal numbers of images in all classes that have any.

    Args:
        gram: float64 [D + 1, D + 1]
        by_class: float64 [C, D + 1]
    """
    counts = by_class[:, -1:]
    means = by_class / counts.clamp(min=torch.finfo(counts.dtype).tiny)
    present = counts > 0
    equal = torch.where(present, counts.sum() / present.sum(), 0.0)
    return gram + means.T @ ((equal - counts) * means), equal * means


def pack(symmetric: Tensor) -> Tensor:
    """Return the upper half of a symmetric matrix [K, K], row by row: [K (K + 1) / 2].

    >>> pack(torch.tensor([[1, 2], [2, 3]]))
    tensor([1, 2, 3])
    """
    rows, columns = torch.triu_indices(*symmetric.shape)
    return symmetric[rows, columns]


def unpack(packed: Tensor, size: int) -> Tensor:
    """Return the symmetric matrix [K, K] of its upper half.

    Args:
        packed: [K (K + 1) / 2]
        size: K

    >>> unpack(torch.tensor([1, 2, 3]), 2)
    tensor([[1, 2],
            [2, 3]])
    """
    rows, columns = torch.triu_indices(size, size, device=packed.device)
    symmetric = packed.new_zeros(size, size)
    symmetric[rows, columns] = packed
    symmetric[columns, rows] = packed
    return symmetric


def _diagonal(size: int) -> Tensor:
    """Return the places of the diagonal in the upper half of a matrix [K, K]: int64 [K]."""
    rows = torch.arange(size)
    return rows * size - rows * (rows - 1) // 2
