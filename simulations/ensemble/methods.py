"""Ways to combine the predictions of M models on N images: log-probabilities, float64 [M, N, C].

Parameters are fitted on other images than those that they are judged on.
"""

import torch
from torch import Tensor
from torch.nn import functional

EM_STEPS = 10_000
EM_TOLERANCE = 1e-10  # largest change of a weight that ends the fit


def mean(log_probs: Tensor) -> Tensor:
    """Return the log of the mean of the probabilities.

    Args:
        log_probs: float64 [M, N, C]

    Returns:
        Float64 [N, C].
    """
    return weighted(
        log_probs, torch.full((len(log_probs),), 1 / len(log_probs), dtype=log_probs.dtype)
    )


def weighted(log_probs: Tensor, weights: Tensor) -> Tensor:
    """Return log sum_m w_m p_m.

    Args:
        log_probs: float64 [M, N, C]
        weights: float64 [M], none negative and 1 in sum

    Returns:
        Float64 [N, C].
    """
    return (log_probs + weights.log().view(-1, 1, 1)).logsumexp(dim=0)


def fit_weights(log_probs: Tensor, targets: Tensor) -> Tensor:
    """Return the weights that minimise -1/N sum_n log sum_m w_m p_m(y_n).

    The problem is convex. Steps are those of expectation maximisation for the proportions of a
    mixture (Dempster, Laird and Rubin 1977), w_m <- 1/N sum_n w_m p_m(y_n) / sum_k w_k p_k(y_n).
    The weights stay non-negative with sum 1 in every step.

    Args:
        log_probs: float64 [M, N, C]
        targets: classes y of the images, int64 [N]

    Returns:
        Float64 [M], none negative and 1 in sum.
    """
    likelihoods = log_probs.gather(2, targets.view(1, -1, 1).expand(len(log_probs), -1, 1)).squeeze(
        2
    )
    # of each image up to a factor, which cancels out
    likelihoods = (likelihoods - likelihoods.amax(dim=0)).exp()
    weights = torch.full((len(log_probs),), 1 / len(log_probs), dtype=log_probs.dtype)
    for _ in range(EM_STEPS):
        posterior = weights.view(-1, 1) * likelihoods
        before = weights
        weights = (posterior / posterior.sum(dim=0)).mean(dim=1)
        if (weights - before).abs().max() < EM_TOLERANCE:
            break
    return weights / weights.sum()


def vote(log_probs: Tensor) -> Tensor:
    """Return the votes for each class.

    If classes have equally many votes, the one with the higher mean probability is ahead.

    Args:
        log_probs: float64 [M, N, C]

    Returns:
        Float64 [N, C].
    """
    votes = functional.one_hot(log_probs.argmax(dim=2), log_probs.shape[2]).sum(dim=0)
    return votes + log_probs.exp().mean(dim=0) / 2


class Stacking:
    """Multinomial logistic regression on all members' log-probabilities.

    The source is Wolpert 1992, "Stacked generalization". Features are scaled to variance 1 over the
    images of the fit. The objective is the sum of the losses plus half the squared norm of the
    coefficients, as is usual (scikit-learn's default).

    Args:
        log_probs: float64 [M, N, C], of the images of the fit
        targets: their classes, int64 [N]
    """

    def __init__(self, log_probs: Tensor, targets: Tensor) -> None:
        features = _side_by_side(log_probs)
        self._mean = features.mean(dim=0)
        self._scale = features.std(dim=0).clamp(min=1e-6)
        features = self._scaled(features)
        classes = log_probs.shape[2]
        self._coefficients = torch.zeros(
            features.shape[1], classes, dtype=log_probs.dtype, requires_grad=True
        )
        self._intercepts = torch.zeros(classes, dtype=log_probs.dtype, requires_grad=True)
        solver = torch.optim.LBFGS(
            [self._coefficients, self._intercepts],
            max_iter=500,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-6,
        )

        def objective() -> Tensor:
            solver.zero_grad()
            loss = functional.cross_entropy(self._logits(features), targets, reduction="sum")
            loss = loss + self._coefficients.square().sum() / 2
            loss.backward()
            return loss

        solver.step(objective)

    def __call__(self, log_probs: Tensor) -> Tensor:
        """Return log-probabilities of other images.

        Args:
            log_probs: float64 [M, N, C]

        Returns:
            Float64 [N, C].
        """
        with torch.no_grad():
            return self._logits(self._scaled(_side_by_side(log_probs))).log_softmax(dim=1)

    def _logits(self, features: Tensor) -> Tensor:
        return features @ self._coefficients + self._intercepts

    def _scaled(self, features: Tensor) -> Tensor:
        return (features - self._mean) / self._scale


def _side_by_side(log_probs: Tensor) -> Tensor:
    """Reshape [M, N, C] to [N, M C]."""
    return log_probs.permute(1, 0, 2).reshape(log_probs.shape[1], -1)
