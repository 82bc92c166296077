"""Combining what models say: numbers that a reader can check by hand, and what must hold for any of
them.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw
from torch import Tensor
from torch.nn import functional

from fedshelf.simulations.ensemble.methods import Stacking, fit_weights, mean, vote, weighted


def said(*members: list[list[float]]) -> Tensor:
    """Log-probabilities [M, N, C] of members, given as probabilities."""
    return torch.tensor(members, dtype=torch.float64).log()


def anything(seed: int, members: int, images: int = 40, classes: int = 3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(members, images, classes, generator=random, dtype=torch.float64)
    return logits.log_softmax(dim=2), torch.randint(classes, (images,), generator=random)


def test_mean_by_hand() -> None:
    found = mean(said([[0.2, 0.8]], [[0.6, 0.4]])).exp()
    torch.testing.assert_close(found, torch.tensor([[0.4, 0.6]], dtype=torch.float64))


def test_weighted_by_hand() -> None:
    found = weighted(
        said([[0.2, 0.8]], [[0.6, 0.4]]), torch.tensor([0.25, 0.75], dtype=torch.float64)
    ).exp()
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5]], dtype=torch.float64))


def test_a_weight_of_none_leaves_a_member_out() -> None:
    found = weighted(
        said([[0.2, 0.8]], [[0.6, 0.4]]), torch.tensor([0.0, 1.0], dtype=torch.float64)
    ).exp()
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.4]], dtype=torch.float64))


def test_weights_by_hand() -> None:
    # Two images of class 0, likelihoods (0.9, 0.3) and (0.1, 0.7) with w = (a, 1 - a): the
    # derivative of log(0.1 + 0.8 a) + log(0.7 - 0.4 a) is none at 0.8 (0.7 - 0.4 a) = 0.4 (0.1 +
    # 0.8 a), so a = 0.52 / 0.64
    found = fit_weights(
        said([[0.9, 0.1], [0.3, 0.7]], [[0.1, 0.9], [0.7, 0.3]]), torch.tensor([0, 0])
    )
    torch.testing.assert_close(
        found, torch.tensor([0.8125, 0.1875], dtype=torch.float64), atol=1e-6, rtol=0
    )


@given(draw.integers(0, 2**16), draw.integers(1, 4))
def test_no_other_weights_fit_better(seed: int, members: int) -> None:
    spoken, targets = anything(seed, members)
    found = fit_weights(spoken, targets)
    assert (found >= 0).all()
    assert float(found.sum()) == pytest.approx(1.0)
    random = torch.Generator().manual_seed(seed + 1)
    others = torch.rand(20, members, generator=random, dtype=torch.float64)
    corners = torch.eye(members, dtype=torch.float64)
    least = functional.nll_loss(weighted(spoken, found), targets)
    for other in torch.cat([others / others.sum(dim=1, keepdim=True), corners]):
        assert least <= functional.nll_loss(weighted(spoken, other), targets) + 1e-6


def test_most_votes_win_however_sure_the_others_are() -> None:
    found = vote(said([[0.6, 0.4]], [[0.6, 0.4]], [[0.0001, 0.9999]]))
    assert found.argmax(dim=1).tolist() == [0]


def test_equal_votes_go_to_the_higher_mean_probability() -> None:
    found = vote(said([[0.6, 0.3, 0.1]], [[0.1, 0.7, 0.2]]))
    assert found.argmax(dim=1).tolist() == [1]


def test_a_tie_is_never_worth_a_vote() -> None:
    # Both members are all but sure of class 1, which has two votes; no third class can come closer
    # than a whole vote.
    found = vote(said([[1e-9, 1 - 2e-9, 1e-9]], [[1e-9, 1 - 2e-9, 1e-9]], [[1 - 2e-9, 1e-9, 1e-9]]))
    assert found.argmax(dim=1).tolist() == [1]


def test_stacking_learns_what_a_member_always_mistakes() -> None:
    # One member calls 0 what is 1 and so on, surely; the other knows nothing.
    targets = torch.arange(60) % 3
    wrong = functional.one_hot((targets + 1) % 3, 3).double() * 0.9 + 0.1 / 3
    spoken = torch.stack([wrong, torch.full((60, 3), 1 / 3, dtype=torch.float64)]).log()
    stacked = Stacking(spoken[:, :30], targets[:30])(spoken[:, 30:])
    assert stacked.argmax(dim=1).tolist() == targets[30:].tolist()
    torch.testing.assert_close(stacked.exp().sum(dim=1), torch.ones(30, dtype=torch.float64))


def test_stacking_is_at_the_least_of_its_objective() -> None:
    spoken, targets = anything(seed=5, members=2)
    fitted = Stacking(spoken, targets)
    features = fitted._scaled(spoken.permute(1, 0, 2).reshape(40, 6))
    errors = fitted(spoken).exp() - functional.one_hot(targets, 3)
    # The gradient by the coefficients is features^T (p - y) + w, by the intercepts the column sums
    # of p - y.
    slope = features.T @ errors + fitted._coefficients.detach()
    assert float(slope.abs().max()) < 1e-4
    assert float(errors.sum(dim=0).abs().max()) < 1e-4
