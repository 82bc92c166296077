"""Ridge regression: numbers that can be checked by hand, and one result for every partition."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as draw
from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig, StrategyConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.closed_form.ridge import (
    PENALTIES,
    SHARPNESS,
    Ridge,
    Spectrum,
    balanced,
    pack,
    unpack,
)

CLASSES = 4
FEATURES = 6


def layout(classes: int = CLASSES, features: int = FEATURES) -> Layout:
    size = classes * (features + 1)
    shapes = (torch.Size([classes, features]), torch.Size([classes]))
    return Layout(("head.weight", "head.bias"), shapes, size, size, head="head")


def ridge(of: Layout | None = None, **settings: object) -> Ridge:
    found = strategies.build(StrategyConfig(name="ridge", **settings), of or layout())
    assert isinstance(found, Ridge)
    return found


def update(strategy: Ridge, store: str, features: Tensor, targets: Tensor) -> Update:
    assert strategy.layout is not None
    params = torch.zeros(strategy.layout.size)
    sums = strategy.summarise(features, targets)
    return Update(store, 1, params, len(targets), 0.0, 0.0, sums)


def head_of(strategy: Ridge, updates: Sequence[Update], state: object = None) -> Tensor:
    """The head [C, D + 1], each class's weights and bias, after one more round."""
    assert strategy.layout is not None
    params, _ = strategy.update_global_model(
        torch.zeros(strategy.layout.size), updates, state or {}, strategy.layout.trainable
    )
    views = strategy.layout.split_views(params)
    return torch.cat([views["head.weight"], views["head.bias"][:, None]], dim=1)


def photos(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features that are not negative and have a common part, as those behind a ReLU do."""
    draws = torch.Generator().manual_seed(seed)
    targets = torch.randint(CLASSES, (count,), generator=draws)
    centres = torch.rand(CLASSES, FEATURES, generator=draws)
    noise = 0.5 * torch.randn(count, FEATURES, generator=draws)
    return (1 + centres[targets] + noise).relu(), targets


def pooled(features: Tensor, targets: Tensor, penalty: float) -> np.ndarray:
    """The head of all images by least squares, with the penalty as D more rows of targets 0."""
    x = features.double().numpy()
    y = np.eye(CLASSES)[targets.numpy()]
    pull = math.sqrt(penalty * (x**2).sum(axis=0).mean()) * np.eye(x.shape[1], x.shape[1] + 1)
    rows = np.concatenate([np.c_[x, np.ones(len(x))], pull])
    found = np.linalg.lstsq(rows, np.r_[y, np.zeros((len(pull), CLASSES))], rcond=None)[0]
    return SHARPNESS * math.log(len(np.unique(targets.numpy()))) * found.T


# --- by hand --------------------------------------------------------------------------------------


def test_two_features_by_hand() -> None:
    """Images (2, 0) and (0, 2) of class 0, (-2, 0) and (0, -2) of class 1.

    The sum of features is 0 and each feature's squares sum to 8, so S = 8 I and m = 8. Class 0 has
    R = (2, 2) and class 1 (-2, -2). With l = 1, w = R / 16, and each bias is the share 1/2.
    """
    strategy = ridge(layout(2, 2), ridge_penalty=1.0, class_weights="none")
    features = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0]])
    sums = strategy.summarise(features, torch.tensor([0, 0, 1, 1]))
    # the upper half of [[8, 0, 0], [0, 8, 0], [0, 0, 4]]
    assert sums["gram"].tolist() == [8, 0, 0, 8, 0, 4]
    assert sums["class_sums"].tolist() == [[2, 2, 2], [-2, -2, 2]]
    found = head_of(strategy, [Update("a", 1, torch.zeros(6), 4, 0.0, 0.0, sums)])
    by_hand = torch.tensor([[1 / 8, 1 / 8, 1 / 2], [-1 / 8, -1 / 8, 1 / 2]])
    torch.testing.assert_close(found, SHARPNESS * math.log(2) * by_hand)


def test_the_bias_takes_up_a_shift_of_all_features() -> None:
    """The mean square m changes with the shift, so the penalty is fixed to the same number."""
    features, targets = photos(50)
    shifted = features + 3.0
    squares = [float(each.square().sum(dim=0).mean()) for each in (features, shifted)]
    heads = [
        head_of(strategy, [update(strategy, "a", each, targets)])
        for each, strategy in (
            (features, ridge(ridge_penalty=0.1, class_weights="none")),
            (shifted, ridge(ridge_penalty=0.1 * squares[0] / squares[1], class_weights="none")),
        )
    ]
    torch.testing.assert_close(heads[0][:, :-1], heads[1][:, :-1], rtol=1e-4, atol=1e-4)
    moved = heads[1][:, -1] + 3 * heads[1][:, :-1].sum(dim=1)
    torch.testing.assert_close(heads[0][:, -1], moved, rtol=1e-4, atol=1e-4)


def test_equal_weights_by_hand() -> None:
    """Class 0 has three images 1, 1 and 4 of one feature (mean 2), class 1 one image 6.

    The scatter around the means is 1 + 1 + 4 = 6. With 2 images in each class, the squares are
    6 + 2 * 4 + 2 * 36 and the sum is 2 * 2 + 2 * 6.
    """
    gram = torch.tensor([[54.0, 12.0], [12.0, 4.0]]).double()
    by_class = torch.tensor([[6.0, 3.0], [6.0, 1.0]]).double()
    found = balanced(gram, by_class)
    assert found[0].tolist() == [[86, 16], [16, 4]]
    assert found[1].tolist() == [[4, 2], [12, 2]]


def test_equal_weights_change_nothing_where_classes_are_equal_and_leave_absent_ones_out() -> None:
    features, _ = photos(30)
    targets = torch.arange(30) % 3  # of the four classes
    sums = ridge().summarise(features, targets)
    gram = unpack(sums["gram"], FEATURES + 1).double()
    by_class = sums["class_sums"].double()
    for one, other in zip(balanced(gram, by_class), (gram, by_class), strict=True):
        torch.testing.assert_close(one, other)


def test_generalised_cross_validation_equals_its_definition() -> None:
    """(|y - H y|^2 / n) / (trace(1 - H) / n)^2, with H the matrix of the fit."""
    features, targets = photos(40)
    sums = ridge().summarise(features, targets)
    gram = unpack(sums["gram"], FEATURES + 1).double()
    spectrum = Spectrum.of(gram, sums["class_sums"].double())
    x = np.c_[features.double().numpy(), np.ones(40)]
    y = np.eye(CLASSES)[targets.numpy()]
    for penalty in (0.01, 0.5):
        pull = penalty * spectrum.scale * np.diag([1.0] * FEATURES + [0.0])
        rest = np.eye(40) - x @ np.linalg.solve(x.T @ x + pull, x.T)
        expected = 40 * ((rest @ y) ** 2).sum() / np.trace(rest) ** 2
        assert spectrum.validation_error(penalty) == pytest.approx(expected, rel=1e-5)
    errors = {penalty: spectrum.validation_error(penalty) for penalty in PENALTIES}
    assert spectrum.choose_penalty() == min(errors, key=lambda penalty: errors[penalty])


def test_noise_gets_the_strongest_penalty_and_a_plain_line_the_weakest() -> None:
    draws = torch.Generator().manual_seed(3)
    noise = torch.randn(200, FEATURES, generator=draws)
    plain = torch.eye(CLASSES, FEATURES)[torch.arange(200) % CLASSES]
    for features, expected in ((noise, PENALTIES[0]), (plain, PENALTIES[-1])):
        sums = ridge().summarise(features, torch.arange(200) % CLASSES)
        gram = unpack(sums["gram"], FEATURES + 1).double()
        assert Spectrum.of(gram, sums["class_sums"].double()).choose_penalty() == expected


@pytest.mark.parametrize("targets", [[0], [0, 0], [0, 1]])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_fewest_images_give_a_finite_head(targets: list[int], value: float) -> None:
    strategy = ridge()
    features = torch.full((len(targets), FEATURES), value)
    found = update(strategy, "a", features, torch.tensor(targets))
    assert strategy.validate_update(found, 0.1, RunConfig()) is None
    assert torch.isfinite(head_of(strategy, [found])).all()


# --- any partition gives the pooled solution ------------------------------------------------------


def dealt(kind: str, targets: Tensor, stores: int, seed: int) -> Tensor:
    """The store of each image."""
    draws = np.random.default_rng(seed)
    if kind == "one class a store":
        return targets % stores
    if kind == "iid":
        return torch.from_numpy(draws.integers(stores, size=len(targets)))
    shares = draws.dirichlet([0.05] * stores, size=CLASSES)
    return torch.tensor([int(draws.choice(stores, p=shares[label])) for label in targets])


@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("kind", ["iid", "dirichlet", "one class a store"])
@settings(max_examples=15, deadline=None)
@given(stores=draw.integers(1, 9), seed=draw.integers(0, 999), penalty=draw.sampled_from([0, 0.01]))
def test_every_partition_gives_the_head_of_all_images_in_one_place(
    kind: str, weights: str, stores: int, seed: int, penalty: float
) -> None:
    features, targets = photos(150, seed)
    strategy = ridge(ridge_penalty=penalty, class_weights=weights)
    place = dealt(kind, targets, stores, seed)
    updates = [
        update(strategy, f"store-{store}", features[place == store], targets[place == store])
        for store in range(stores)
        if bool((place == store).any())
    ]
    together = update(strategy, "all", features, targets)
    assert all(strategy.validate_update(each, 0.1, RunConfig()) is None for each in updates)
    found = head_of(strategy, updates)
    assert (found - head_of(strategy, [together])).abs().max() < 1e-4 * found.abs().max()
    if penalty and weights == "none":
        expected = torch.from_numpy(pooled(features, targets, penalty)).float()
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_stores_that_come_later_add_their_sums_and_one_that_comes_again_replaces_its_own() -> None:
    strategy = ridge()
    features, targets = photos(120)
    parts = [slice(0, 30), slice(30, 70), slice(70, 120)]
    a, b, c = (
        update(strategy, name, features[part], targets[part])
        for name, part in zip("abc", parts, strict=True)
    )
    fewer = update(strategy, "b", features[30:40], targets[30:40])
    params = torch.zeros(layout().size)
    _, state = strategy.update_global_model(params, [a, fewer], {}, layout().trainable)
    found = head_of(strategy, [b, c], state)
    assert torch.equal(found, head_of(strategy, [a, b, c]))


def test_a_new_class_comes_with_the_store_that_has_it() -> None:
    strategy = ridge()
    features, targets = photos(120)
    old = targets < CLASSES - 1
    first = update(strategy, "first", features[old], targets[old])
    new = update(strategy, "new", features[~old], targets[~old])
    params, state = strategy.update_global_model(
        torch.zeros(layout().size), [first], {}, layout().trainable
    )
    views = layout().split_views(params)
    assert not views["head.weight"][-1].any()
    assert float(views["head.bias"][-1]) == 0
    together = head_of(strategy, [update(strategy, "all", features, targets)])
    found = head_of(strategy, [new], state)
    assert (found - together).abs().max() < 1e-4 * together.abs().max()


def test_a_forgotten_store_leaves_no_trace() -> None:
    strategy = ridge()
    features, targets = photos(90)
    a, b, c = (
        update(strategy, name, features[start::3], targets[start::3])
        for start, name in enumerate("abc")
    )
    params = torch.zeros(layout().size)
    _, state = strategy.update_global_model(params, [a, b, c], {}, layout().trainable)
    without = strategy.forget(state, {"b"})
    assert strategy.contributors(without) == {"a", "c"}
    assert torch.equal(head_of(strategy, [], without), head_of(strategy, [a, c]))


def test_a_store_that_counts_for_fewer_images_has_smaller_sums() -> None:
    """Twice the same images, which count for as many as one of the two has."""
    strategy = ridge()
    features, targets = photos(40)
    twice = update(strategy, "a", features.repeat(2, 1), targets.repeat(2))
    found = head_of(strategy, [replace(twice, num_examples=40)])
    expected = head_of(strategy, [update(strategy, "a", features, targets)])
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


# --- sums that no images can have -----------------------------------------------------------------


def spoilt(found: Update, **changes: Tensor) -> Update:
    return replace(found, extras={**found.extras, **changes})


def with_entry(packed: Tensor, row: int, column: int, value: float) -> Tensor:
    matrix = unpack(packed, FEATURES + 1)
    matrix[row, column] = matrix[column, row] = value
    return pack(matrix)


def test_sums_that_contradict_each_other_are_named() -> None:
    strategy = ridge()
    features, targets = photos(60)
    good = update(strategy, "a", features, targets)
    gram, by_class = good.extras["gram"], good.extras["class_sums"]
    moved = by_class.clone()
    moved[0, -1] += 1
    half = by_class.clone()
    half[0, -1] += 0.5
    half[1, -1] -= 0.5
    far = by_class.clone()
    far[0, 0] += 1e4
    far[1, 0] -= 1e4
    lost = by_class.clone()
    lost[0, 0] *= 0.5
    cases = {
        "are not finite": {"gram": torch.full_like(gram, math.nan)},
        "classes of 61 images together, where it claims 60": {"class_sums": moved},
        "no whole numbers": {"class_sums": half},
        "larger than its images' features allow": {"class_sums": far},
        "do not add up": {"class_sums": lost},
        "no images can have": {"gram": with_entry(gram, 0, 1, 1e4)},
        "larger than": {"gram": with_entry(gram, 0, 0, -5.0)},
    }
    assert strategy.validate_update(good, 0.1, RunConfig()) is None
    for words, changes in cases.items():
        fault = strategy.validate_update(spoilt(good, **changes), 0.1, RunConfig())
        assert fault is not None
        assert words in fault


def test_the_norm_is_the_root_mean_square_length_of_features() -> None:
    strategy = ridge(layout(2, 2))
    found = update(strategy, "a", torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    assert float(strategy.norm(found)) == pytest.approx(math.sqrt((25 + 1) / 2))


# --- what it needs --------------------------------------------------------------------------------


def test_a_head_that_is_no_dense_layer_with_a_bias_is_refused() -> None:
    convolution = Layout(
        ("head.weight", "head.bias"),
        (torch.Size([3, 5, 1, 1]), torch.Size([3])),
        18,
        18,
        head="head",
    )
    bare = Layout(("head.weight",), (torch.Size([3, 5]),), 15, 15, head="head")
    for wrong in (convolution, bare, replace(layout(), ends_in_head=False)):
        with pytest.raises(ConfigError, match=r"dense with a bias, and the one here ends in head"):
            ridge(wrong)
