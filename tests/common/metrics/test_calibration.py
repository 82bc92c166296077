"""Calibration by hand, against torchmetrics, and temperatures against a fine search."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_calibration_error

from fedshelf.common.metrics.calibration import (
    BINS,
    MIN_CALIBRATION_IMAGES,
    PRIOR,
    TEMPERATURES,
    Reliability,
    fit_energy_threshold,
    fit_temperature,
)


def counted(
    logits: torch.Tensor, targets: torch.Tensor, temperatures: tuple[float, ...]
) -> Reliability:
    """Counts of scores [N, C] by the definitions."""
    likelihoods = [
        functional.log_softmax(logits / temperature, dim=1) for temperature in temperatures
    ]
    nll = torch.stack(
        [functional.nll_loss(each, targets, reduction="none") for each in likelihoods]
    )
    sure = torch.stack([each.exp().amax(dim=1) for each in likelihoods])
    return Reliability.from_predictions(
        temperatures,
        nll.numpy(),
        sure.numpy(),
        (logits.argmax(dim=1) == targets).numpy(),
        logits.logsumexp(dim=1).numpy(),
    )


def scores(
    images: int, classes: int, seed: int = 0, sharpness: float = 3.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores [N, C] and labels drawn from what the scores, less sharp by `sharpness`, say: the best
    T is that.
    """
    generator = torch.Generator().manual_seed(seed)
    honest = 2 * torch.randn(images, classes, generator=generator)
    targets = torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1)
    return sharpness * honest, targets


def test_numbers_by_hand() -> None:
    """Confidences 0.9 (right), 0.9 (wrong) in bin 13, 0.5 (right) in bin 7, 1.0 (right) in the last
    one.
    """
    sure = np.array([[0.9, 0.9, 0.5, 1.0]], dtype=np.float32)
    found = Reliability.from_predictions(
        (1.0,),
        np.array([[0.1, 2.0, 0.7, 0.0]], np.float32),
        sure,
        np.array([1, 0, 1, 1], bool),
        np.zeros(4, np.float32),
    )
    assert found.num_examples == 4
    assert {place: int(images) for place, images in enumerate(found.images[0]) if images} == {
        13: 2,
        7: 1,
        14: 1,
    }
    assert found.correct[0, [13, 7, 14]].tolist() == [1, 1, 1]
    # the bins' gaps: |1 - 1.8|, |1 - 0.5|, |1 - 1|
    assert found.ece(0) == pytest.approx((0.8 + 0.5 + 0.0) / 4)
    assert found.confidence(0) == pytest.approx(3.3 / 4)
    assert found.loss(0) == pytest.approx(0.7)


def test_an_edge_belongs_to_the_bin_below_it() -> None:
    sure = np.array([[1 / BINS, 5 / BINS, 1.0]], dtype=np.float64)
    found = Reliability.from_predictions(
        (1.0,), np.zeros((1, 3), np.float32), sure, np.ones(3, bool), np.zeros(3, np.float32)
    )
    assert found.images[0].nonzero()[0].tolist() == [0, 4, BINS - 1]


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_error_agrees_with_torchmetrics(classes: int, temperature: float) -> None:
    logits, targets = scores(500, classes)
    found = counted(logits, targets, (temperature,))
    expected = multiclass_calibration_error(
        (logits / temperature).softmax(dim=1), targets, classes, n_bins=BINS
    )
    assert found.ece(0) == pytest.approx(expected.item(), rel=1e-5)
    assert found.loss(0) == pytest.approx(
        functional.cross_entropy(logits / temperature, targets).item(), rel=1e-5
    )


@given(draw.lists(draw.integers(0, 40), min_size=1, max_size=5), draw.integers(0, 99))
def test_counting_in_parts_equals_counting_at_once(sizes: list[int], seed: int) -> None:
    logits, targets = scores(sum(sizes), 4, seed)
    whole = counted(logits, targets, (1.0, 2.0))
    parts = [
        counted(some, own, (1.0, 2.0))
        for some, own in zip(logits.split(sizes), targets.split(sizes), strict=True)
    ]
    merged = sum(parts[1:], parts[0])
    np.testing.assert_array_equal(merged.images, whole.images)
    np.testing.assert_array_equal(merged.correct, whole.correct)
    np.testing.assert_array_equal(merged.energies, whole.energies)
    np.testing.assert_allclose(merged.confidence_sum, whole.confidence_sum)
    np.testing.assert_allclose(merged.nll, whole.nll)
    assert merged.num_examples == sum(sizes)


def test_counts_at_other_temperatures_do_not_add() -> None:
    logits, targets = scores(10, 3)
    with pytest.raises(ValueError, match="at 1 temperatures and at 2 others"):
        counted(logits, targets, (1.0,)) + counted(logits, targets, (1.0, 2.0))


def temperature_of(logits: torch.Tensor, targets: torch.Tensor) -> float | None:
    fitted = fit_temperature(counted(logits, targets, TEMPERATURES))
    return fitted.temperature if fitted else None


@pytest.mark.parametrize("images", [MIN_CALIBRATION_IMAGES, 1500])
@pytest.mark.parametrize("sharpness", [0.4, 0.8, 1.0, 1.7, 6.0, 19.0])
def test_the_temperature_is_that_of_a_fine_search(sharpness: float, images: int) -> None:
    logits, targets = scores(images, 6, sharpness=sharpness)
    found = temperature_of(logits, targets)
    fine = np.exp(np.linspace(math.log(0.25), math.log(50), 3000))
    losses = [
        images * functional.cross_entropy(logits.double() / temperature, targets).item()
        + (math.log(temperature) / PRIOR) ** 2 / 2
        for temperature in fine
    ]
    assert found == pytest.approx(fine[int(np.argmin(losses))], rel=0.02)
    if images == 1500:
        assert found == pytest.approx(sharpness, rel=0.15)  # 1,500 labels were drawn by chance


def test_the_interval_holds_the_right_temperature_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        fitted = fit_temperature(counted(*scores(200, 6, seed, sharpness=1.5), TEMPERATURES))
        assert fitted is not None
        assert fitted.low < fitted.temperature < fitted.high
        held += fitted.low <= 1.5 <= fitted.high
    assert 90 <= held <= 99


@pytest.mark.parametrize("images", [1, 20, MIN_CALIBRATION_IMAGES - 1])
def test_few_images_fit_no_temperature(images: int) -> None:
    """All right by a margin, they are likeliest at the coolest temperature: 1/4 was the answer
    once.
    """
    logits = 8 * torch.eye(4)[torch.arange(images) % 4]
    assert fit_temperature(counted(logits, torch.arange(images) % 4, TEMPERATURES)) is None


def test_the_prior_holds_few_easy_images_near_one() -> None:
    """100 images that are all right by a margin of 8: each costs 3 exp(-8) at T = 1, nothing to
    speak of.
    """
    logits = 8 * torch.eye(4)[torch.arange(100) % 4]
    targets = torch.arange(100) % 4
    found = temperature_of(logits, targets)
    assert found is not None
    assert 0.8 < found < 1


def test_an_overconfident_model_is_calibrated_by_its_temperature() -> None:
    logits, targets = scores(4000, 5, sharpness=4.0)
    half = 2000  # fitted on one half, looked at on the other
    temperature = temperature_of(logits[:half], targets[:half])
    assert temperature is not None
    found = counted(logits[half:], targets[half:], (1.0, temperature))
    assert found.confidence(0) > 0.9 > found.confidence(1)
    assert found.ece(0) > 0.15
    assert found.ece(1) < 0.04


def test_an_end_of_the_grid_is_no_answer() -> None:
    logits = torch.eye(4).repeat(50, 1)
    targets = torch.arange(4).repeat(50)
    # all right by a margin of 1: the cooler the likelier
    assert temperature_of(logits, targets) is None
    # all wrong by far: the hotter the likelier
    assert temperature_of(1000 * logits, (targets + 1) % 4) is None


def test_nothing_and_what_is_not_finite_have_no_temperature() -> None:
    assert (
        fit_temperature(counted(torch.empty(0, 3), torch.empty(0, dtype=torch.int64), TEMPERATURES))
        is None
    )
    logits, targets = scores(60, 3)
    logits[3] = float("nan")
    diverged = counted(logits, targets, TEMPERATURES)
    assert fit_temperature(diverged) is None
    assert diverged.num_examples == 60
    assert math.isnan(counted(logits[:0], targets[:0], (1.0,)).ece(0))


def test_the_energy_threshold_has_a_twentieth_of_the_images_below_it() -> None:
    logits, targets = scores(4000, 5)
    found = fit_energy_threshold(counted(logits, targets, (1.0,)))
    energies = logits.exp().sum(dim=1).log()
    assert found is not None
    assert found == pytest.approx(energies.quantile(0.05).item(), rel=0.02)
    assert (energies < found).float().mean().item() == pytest.approx(0.05, abs=0.005)


def test_few_images_and_scores_of_a_diverged_model_have_no_energy_threshold() -> None:
    logits, targets = scores(MIN_CALIBRATION_IMAGES, 5)
    assert fit_energy_threshold(counted(logits, targets, (1.0,))) is not None
    assert fit_energy_threshold(counted(logits[1:], targets[1:], (1.0,))) is None
    for spoilt in (logits * 1e6, -1e6 - logits, logits * math.nan):
        assert fit_energy_threshold(counted(spoilt, targets, (1.0,))) is None
