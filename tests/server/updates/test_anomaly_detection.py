"""Signs of poisoned updates: numbers by hand, then real training on drawn products
with one bad store.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.images.types import Images
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.training.setup import InitialState, prepare, settle
from fedshelf.server.updates.anomaly_detection import AnomalyDetector, is_on, sample_of
from fedshelf.server.updates.evaluator import Evaluators, FeatureSample, ServerEvaluator
from fedshelf.server.updates.screening import RoundOutcome
from fedshelf.simulations.federation import federation
from fedshelf.simulations.federation.federation import Federation
from tests.helpers.by_hand import Notes, plan_of, vector

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


CLASSES = ("boot", "hat")


class Table:
    """Twenty images of each of two classes, with two features each: those of class 0 have the
    first, the others the second. A model has the weights of the head alone: two of boot's row, then
    two of hat's.
    """

    targets = np.repeat(np.arange(2), 20)

    def __call__(self, params: Tensor) -> NDArray[np.float64]:
        return np.eye(2)[self.targets] + np.tile([[0.1], [-0.1]], (20, 2))

    def gradient(self, params: Tensor, of: int, label: int, images: int, turn: int) -> Tensor:
        raise AssertionError("nothing trains below this head")


def detector(sample: Table | None, **settings: object) -> AnomalyDetector:
    plan = plan_of(**settings)
    layout = Layout(("head.weight",), (torch.Size([2, 2]),), 4, 4, "head")
    return AnomalyDetector(replace(plan, spec=replace(plan.spec, classes=CLASSES)), sample, layout)


def trained(
    start: Sequence[float],
    vectors: Sequence[Sequence[float]],
    counts: Mapping[str, int] = {"boot": 30, "hat": 30},
) -> RoundOutcome:
    """A round of stores s0, s1, ... with these parameters and images."""
    updates = [
        Update(f"s{i}", 1, vector(*values), 60, 0.0, 0.0) for i, values in enumerate(vectors)
    ]
    infos = {update.store: StoreInfo(update.store, counts, 0, 0) for update in updates}
    norms = {update.store: float((update.params - vector(*start)).norm()) for update in updates}
    return RoundOutcome(TrainOrder(plan_of(), 1, vector(*start)), infos, updates, {}, infos, norms)


def test_a_large_update_and_an_opposite_one_are_named() -> None:
    usual = [[1.0, 0.1], [1.0, -0.1], [1.0, 0.2], [1.0, -0.2], [1.0, 0.0]]
    assert detector(None).look(trained([0.0, 0.0], usual), {}) == ({}, {})
    found, _ = detector(None).look(trained([0.0, 0.0], [*usual, [5.0, 0.0], [-1.0, 0.0]]), {})
    assert found == {
        "s5": "its update is 5.0 times as large as is usual for so many steps",
        "s6": (
            "its update points elsewhere than those of stores with such classes (cosine -1.00,"
            " where 0.99 is usual)"
        ),
    }


@pytest.mark.parametrize("factor", [5.9, -1.0])
def test_of_five_stores_a_scaled_update_and_one_turned_round_are_reported(factor: float) -> None:
    start = [2.0, 1.0]
    vectors = [[3.0, 1.5], [3.0, 1.4], [2.9, 1.6], [3.1, 1.5]]
    bad = [2.0 + factor, 1.0 + factor / 2]  # what it has learned, (1, 0.5), times the factor
    assert list(detector(None).look(trained(start, [*vectors, bad]), {})[0]) == ["s4"]


def test_three_stores_are_too_few_to_say_what_is_usual() -> None:
    assert detector(None).look(trained([0.0, 0.0], [[1.0, 0.0], [1.0, 0.0], [-9.0, 0.0]]), {}) == (
        {},
        {},
    )


# boots have the first feature; they have the second
RIGHT = [1.0, 0.0, 0.0, 1.0]
WRONG = [0.0, 1.0, 1.0, 0.0]


def test_exchanged_labels_are_told_with_their_classes_and_the_evidence_survives_a_restart() -> None:
    nothing = [0.0] * 4
    mixed = trained(nothing, [RIGHT] * 5 + [WRONG])
    found, evidence = detector(Table()).look(mixed, {})
    assert found["s5"].endswith(
        "its updates teach that boot is hat and hat is boot: are the two exchanged?"
    )
    assert list(found) == ["s5"]
    assert evidence.keys() == {f"s{i}" for i in range(6)}
    kept = json.loads(json.dumps(evidence))
    found, evidence = detector(Table()).look(trained(nothing, [RIGHT] * 6), kept)
    assert evidence["s5"]["rounds"] == 2
    assert found == {}  # once wrong and once right
    assert detector(None).look(trained(nothing, [RIGHT] * 5 + [WRONG]), kept)[1] == kept


def test_a_store_with_one_class_whose_images_look_like_the_other_is_told() -> None:
    hats = {"boot": 0, "hat": 60}
    taught = {"right": [0.0, -1.0, 0.0, 1.0], "wrong": [-1.0, 0.0, 1.0, 0.0]}
    for name, change in taught.items():
        found, _ = detector(Table()).look(trained([0.0] * 4, [change] * 6, hats), {})
        words = (
            "its updates teach of its classes' images that they are others: are its labels right?"
        )
        assert found == ({} if name == "right" else {f"s{i}": words for i in range(6)})


PRODUCTS = ("boot", "coat", "hat", "sock")
BELOW = 16  # weights below the head


class Deep:
    """Twenty images of each of four classes, class k with feature k; each gradient below the head,
    of a class and a label, has its own axis. A model has 16 weights below the head and its four
    rows of four.
    """

    targets = np.repeat(np.arange(4), 20)

    def __call__(self, params: Tensor) -> NDArray[np.float64]:
        return np.eye(4)[self.targets] * 6 + 1 + np.tile([[0.1], [-0.1]], (40, 4))

    def gradient(self, params: Tensor, of: int, label: int, images: int, turn: int) -> Tensor:
        return torch.eye(BELOW + 16)[4 * of + label]


def deep(below: Sequence[int], at_the_head: Sequence[int], right: float) -> list[float]:
    """Parameters after training on images of each label whose class is `below[label]` to the layers
    below the head. To the head they are of class `at_the_head[label]`, but for a share of `right`,
    which are of the class of their label.
    """
    body = np.zeros(BELOW)
    body[[4 * of + label for label, of in enumerate(below)]] = -1.0
    images = (1 - right) * np.eye(4)[list(at_the_head)] + right * np.eye(4)
    head = (np.eye(4) - 1 / 4).T @ images
    return [*body.tolist(), *head.ravel().tolist()]


def looked_at_deep(store: list[float]) -> tuple[str, Mapping[str, Any]]:
    """The suspicion of a store beside five honest ones, and its evidence."""
    plan = plan_of()
    weights = (torch.Size([BELOW]), torch.Size([4, 4]))
    layout = Layout(("body", "head.weight"), weights, BELOW + 16, BELOW + 16, "head")
    looking = AnomalyDetector(
        replace(plan, spec=replace(plan.spec, classes=PRODUCTS)), Deep(), layout
    )
    vectors = [deep(OWN, OWN, 1)] * 5 + [store]
    round_of = trained([0.0] * (BELOW + 16), vectors, dict.fromkeys(PRODUCTS, 30))
    found, evidence = looking.look(round_of, {})
    assert found.keys() <= {"s5"}
    return found.get("s5", ""), evidence["s5"]


OWN = (0, 1, 2, 3)
NEXT = (3, 0, 1, 2)
SWAPPED = (1, 0, 2, 3)
AMONG_THREE = (1, 2, 0, 3)


@pytest.mark.parametrize(("below", "at_the_head"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_shifted_list_is_told_if_the_head_and_the_layers_below_both_say_so(
    below: int, at_the_head: int
) -> None:
    told, evidence = looked_at_deep(deep([OWN, NEXT][below], [OWN, NEXT][at_the_head], 0.1))
    assert evidence["shift"] == {"rounds": 1, "gain": [-1.0, 1.0][below], "gap": 1.0}
    assert ("shifted by one?" in told) is bool(below and at_the_head)


@pytest.mark.parametrize(("below", "expected"), [(OWN, False), (SWAPPED, True)])
def test_classes_that_look_slightly_exchanged_are_told_if_the_layers_below_say_so(
    below: Sequence[int], expected: bool
) -> None:
    # 11 of 20 images are the other's: the head's cosines differ by less than 0.3
    told, evidence = looked_at_deep(deep(below, SWAPPED, 0.45))
    assert evidence["pair"] == [0, 1]
    # two of four labels are the same: <r, s> = 1 / 2
    assert evidence["exchange"] == {"rounds": 1, "gain": [-0.5, 0.5][expected], "gap": 0.5}
    words = "its updates teach that boot is coat and coat is boot: are the two exchanged?"
    assert (words in told) is expected


def test_classes_that_look_clearly_exchanged_are_told_whatever_the_layers_below_say() -> None:
    told, _ = looked_at_deep(deep(OWN, SWAPPED, 0))
    assert "are the two exchanged?" in told


@pytest.mark.parametrize(("below", "expected"), [(OWN, False), (AMONG_THREE, True)])
def test_labels_look_wrong_if_the_layers_below_follow_what_they_look_like(
    below: Sequence[int], expected: bool
) -> None:
    told, evidence = looked_at_deep(deep(below, AMONG_THREE, 0.1))
    assert "pair" not in evidence  # no two look like each other
    # three labels are as guessed, and the fourth, which looks like its class, is right
    assert evidence["alike"] == {"rounds": 1, "gain": [-1.0, 0.5][expected], "gap": 1.0}
    assert ("are its labels right?" in told) is expected


def test_without_test_images_labels_are_not_looked_at() -> None:
    start, stores = begun("iid", 1)
    assert stores.test is not None
    judge = ServerEvaluator(start.plan, stores.test, CPU)
    config = start.plan.config
    few = sample_of(judge, replace_images(config, 100))
    assert few is not None
    assert len(few.targets) == 100
    assert sample_of(judge, replace_images(config, 0)) is None
    assert sample_of(None, config) is None


def replace_images(config: RunConfig, count: int) -> RunConfig:
    """The same with so many test images looked at."""
    return config.model_copy(
        update={"screening": config.screening.model_copy(update={"test_images": count})}
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"data.dataset": "stores"}, True),
        ({"screening.detect": "on"}, True),
        ({"data.dataset": "stores", "screening.detect": "off"}, False),
    ],
)
def test_real_stores_are_looked_at_and_simulated_ones_if_asked_for(
    settings: dict[str, str], expected: bool
) -> None:
    assert is_on(resolve(settings)) is expected


@dataclass
class Products:
    """Stores of a federation that train for real; `bad` has swapped its labels, or answers with the
    opposite.
    """

    stores_of: Federation
    bad: str
    how: str

    def __post_init__(self) -> None:
        self._infos = self.stores_of.infos()
        self._trainer = Trainer(CPU, StateStore(Path("unused")))

    def stores(self) -> Mapping[str, StoreInfo]:
        return self._infos

    def retry_after(self) -> float:
        return 0.0

    def held_back(self) -> Mapping[str, str]:
        return {}

    def exclude(self, store: str, why: str) -> None:
        self._infos.leave_out(store)

    def prefetch_training(self, order: TrainOrder, stores: Sequence[str]) -> None:
        """Nothing is idle here."""

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        for name in stores:
            images = self.stores_of.stores[name].train
            is_bad = name == self.bad
            update = self._trainer.train(
                order, name, swapped(images) if is_bad and self.how == "swapped" else images
            )
            opposite = 2 * order.params - update.params
            yield replace(update, params=opposite) if is_bad and self.how == "opposite" else update

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterator[Evaluation | Failure]:
        yield from ()


def swapped(images: Images) -> Images:
    """The same with the two classes exchanged of which there are most."""
    first, second = (
        torch.bincount(images.targets()).argsort(descending=True, stable=True)[:2].tolist()
    )
    labels = images.labels.clone()
    labels[images.labels == first], labels[images.labels == second] = second, first
    return Images(images.inputs, labels, images.rows)


def begun(partition: str, rounds: int, model: str = "niid-cnn") -> tuple[InitialState, Federation]:
    chosen = {
        "data.dataset": "shelf",
        "data.stores": 8,
        "data.partition": partition,
        "run.rounds": rounds,
    }
    chosen |= {
        "train.lr": 0.02,
        "model.name": model,
        "screening.detect": "on",
        "evaluation.stores": False,
    }
    config: RunConfig = settle(resolve(chosen, {"run.device": "cpu", "run.seed": 1}), 32, 3)
    stores = federation.build(config, image_size=config.data.image_size, channels=3)
    return prepare(config, stores.classes, 3).identified("run"), stores


def suspects(partition: str, how: str, rounds: int) -> dict[str, str]:
    """Return the store that is suspected first in some rounds of real training, and why."""
    start, stores = begun(partition, rounds)
    assert stores.test is not None
    evaluators = Evaluators(
        sample=sample_of(ServerEvaluator(start.plan, stores.test, CPU), start.plan.config)
    )
    runtime = Products(stores, "store-2", how)
    notes = Notes()
    playing = RoundLoop(start.plan, start.layout, runtime, notes, lambda: False, evaluators)
    state = playing.initial_state(start.params)
    for _ in range(rounds):
        state, record = playing.play(state)
        state = replace(state, record=record)
        if record["standing"]["suspects"]:
            break
    found: dict[str, str] = record["standing"]["suspects"]
    assert [note.split(" is under")[0] for note in notes.notes] == list(found)
    return found


@pytest.mark.slow
def test_a_store_that_answers_with_the_opposite_is_found_within_three_rounds() -> None:
    found = suspects("iid", "opposite", 3)
    assert list(found) == ["store-2"]
    assert "points elsewhere" in found["store-2"]


@pytest.mark.slow
@pytest.mark.parametrize("partition", ["iid", "dirichlet:0.3"])
def test_a_store_with_two_classes_exchanged_is_found_and_honest_ones_are_left_in_peace(
    partition: str,
) -> None:
    found = suspects(partition, "swapped", 10)
    assert list(found) == ["store-2"]
    assert "are the two exchanged?" in found["store-2"]


def test_the_sample_has_as_many_images_of_each_class() -> None:
    start, stores = begun("iid", 1)
    assert stores.test is not None
    whole = ServerEvaluator(start.plan, stores.test, CPU)
    few = whole.sample(50, 0)
    assert np.bincount(few.targets).tolist() == [5] * len(stores.classes)
    assert len(whole.sample(10**6, 0).targets) == len(stores.test)


def test_the_gradient_of_a_class_under_a_label_is_that_of_its_images_loss() -> None:
    start, stores = begun("iid", 1)
    assert stores.test is not None
    sample = ServerEvaluator(start.plan, stores.test, CPU).sample(500, 0)
    # of fifty images the last ten and the first thirty
    found = sample.gradient(start.params, 2, 3, 40, 1)
    everything = sample.gradient(start.params, 2, 3, 50, 0)
    others = sample.gradient(start.params, 2, 3, 10, 3)  # the thirty-first to the fortieth
    assert torch.allclose(50 * everything, 40 * found + 10 * others, atol=1e-4)
    step = 1e-2 * everything / everything.norm()
    before, after = (
        loss_of(sample, start, params) for params in (start.params - step, start.params + step)
    )
    assert after - before == pytest.approx(2e-2 * float(everything.norm()), rel=0.02)


def loss_of(sample: FeatureSample, start: InitialState, params: Tensor) -> float:
    """Mean loss of the images of class 2 as if they had label 3."""
    head = start.layout.split_views(params)
    weight, bias = (head[f"{start.layout.head}.{name}"] for name in ("weight", "bias"))
    scores = torch.from_numpy(sample(params)[sample.targets == 2]) @ weight.T.double() + bias
    return float((scores.logsumexp(dim=1) - scores[:, 3]).mean())


def test_the_head_makes_the_models_scores_of_the_features() -> None:
    start, stores = begun("iid", 1)
    assert stores.test is not None
    whole = ServerEvaluator(start.plan, stores.test.select(torch.arange(100)), CPU)
    sample = whole.sample(100, 0)
    head = start.layout.split_views(start.params)
    weight, bias = (head[f"{start.layout.head}.{name}"] for name in ("weight", "bias"))
    scores = torch.from_numpy(sample(start.params)).float() @ weight.T + bias
    confusion = np.zeros((10, 10), dtype=int)
    np.add.at(confusion, (sample.targets, scores.argmax(dim=1).numpy()), 1)
    assert whole(start.params).confusion.tolist() == confusion.tolist()


def test_features_before_a_head_that_is_a_convolution_are_means_over_places() -> None:
    start, stores = begun("iid", 1, "squeezenet1_1")
    assert stores.test is not None
    sample = ServerEvaluator(start.plan, stores.test, CPU).sample(20, 0)
    head = start.layout.split_views(start.params)[f"{start.layout.head}.weight"]
    assert sample(start.params).shape == (20, head[0].numel()) == (20, 512)
