"""Settings that differential privacy of a store refuses, each by its name."""

import pytest

from fedshelf.common.errors import ConfigError
from fedshelf.server.store_privacy.refusals import check_stores
from fedshelf.server.training.setup import settle
from tests.helpers.simulated_stores import settings, start

PRIVATE = {"privacy__store_noise": 1.0, "strategy__weighting": "uniform"}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"strategy__weighting": "images"}, "strategy.weighting=uniform"),
        ({"strategy__name": "median"}, "strategy median"),
        ({"strategy__name": "trimmed-mean"}, "strategy trimmed-mean"),
        ({"strategy__name": "krum"}, "strategy krum"),
        ({"strategy__name": "multi-krum"}, "strategy multi-krum"),
        ({"strategy__name": "scaffold"}, "strategy scaffold"),
        ({"strategy__name": "fednova"}, "strategy fednova"),
        ({"strategy__name": "feddyn"}, "strategy feddyn"),
        ({"strategy__name": "fedbn"}, "strategy fedbn"),
        ({"strategy__name": "fedper"}, "strategy fedper"),
        ({"strategy__absent_classes": "weigh"}, "strategy.absent_classes=full"),
        ({"strategy__absent_classes": "mask"}, "strategy.absent_classes=full"),
        ({"model__norm": "batch"}, "model.norm=group"),
        ({"privacy__secure_sum": True, "privacy__store_clip": 1.0}, "to privacy.sum_bound"),
        ({"privacy__secure_sum": True, "privacy__store_quantile": 0.3}, "privacy.store_quantile"),
        (
            {"privacy__secure_sum": True, "messages__compression": "int8"},
            "messages.compression=none",
        ),
        ({"screening__suspects": "clip"}, "screening.suspects=clip"),
        ({"screening__suspects": "exclude"}, "screening.suspects=exclude"),
        ({"run__deliver": "best"}, "run.deliver=best"),
        ({"evaluation__patience": 3}, "evaluation.patience"),
        (
            {"privacy__store_clip": 1.0, "privacy__store_quantile": 0.3},
            "both privacy.store_clip=1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_gives_one_store_an_effect_without_a_bound_is_refused(
    changed: dict[str, object], named: str
) -> None:
    unweighted = {} if changed.get("strategy__name") in _WITHOUT_WEIGHTS else PRIVATE
    with pytest.raises(ConfigError, match=f"^Setting privacy.store_noise got 1, .*{named}"):
        start(settings(**{"privacy__store_noise": 1.0, **unweighted, **changed}))


_WITHOUT_WEIGHTS = ("median", "trimmed-mean", "krum", "multi-krum")


@pytest.mark.parametrize(
    "strategy", ["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "fedadagrad"]
)
def test_functions_of_the_mean_go(strategy: str) -> None:
    start(settings(**PRIVATE, strategy__name=strategy))


@pytest.mark.parametrize(
    ("key", "value"), [("store_clip", 1.0), ("store_quantile", 0.3), ("store_delta", 1e-6)]
)
def test_a_clip_without_noise_is_no_privacy(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^Setting privacy\.{key} got {value}, but"):
        start(settings(**{f"privacy__{key}": value}))


def test_settings_that_were_not_given_are_chosen_to_fit() -> None:
    """Photos would have their rows averaged by counts, the best round delivered, and updates far
    from the others left out.
    """
    chosen = settle(settings(**PRIVATE, data__image_size=0), None, 3)
    assert chosen.strategy.absent_classes == "full"
    assert chosen.run.deliver == "last"
    assert chosen.screening.norm_factor == 0
    plain = settle(settings(data__image_size=0), None, 3)
    assert (plain.strategy.absent_classes, plain.run.deliver) == ("weigh", "auto")
    assert plain.screening.norm_factor == 6


def test_a_simulation_whose_draws_may_be_empty_does_not_begin() -> None:
    few = settings(**PRIVATE, cohort__fraction=0.1)
    with pytest.raises(ConfigError, match=r"^Setting cohort\.fraction got 0\.1: of 100 stores"):
        check_stores(few, 100)
    check_stores(few, 200)
    check_stores(settings(**PRIVATE), 3)
