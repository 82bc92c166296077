"""What the signs of poisoned updates say: numbers by hand, then real training on drawn products with one bad store."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw

from client.states import StateStore
from client.work import Trainer
from common.config import RunConfig, resolve
from common.images.types import Images
from common.orders import EvaluateOrder, Evaluation, Failure, StoreInfo, TrainOrder, Update
from common.params import Rows
from server.gate import Gate
from server.judge import ServerTest
from server.plan import Start, prepare, settle
from server.rounds import Rounds
from server.suspicion import (
    LOOK,
    Looked,
    by_effect,
    by_size_and_direction,
    exchanged,
    is_on,
    norms_and_cosines,
    sample_of,
)
from simulations import federation
from simulations.federation import Federation
from tests.server.by_hand import Notes, vector

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_norms_and_cosines_by_hand() -> None:
    # from (1, 1): (3, 4), (3, 4), (-3, -4). The first against (0, 0): none. The last against (6, 8): opposite.
    start, rows = vector(1.0, 1.0), Rows([vector(4.0, 5.0), vector(4.0, 5.0), vector(-2.0, -3.0), vector(1.0, 1.0)])
    norms, cosines = norms_and_cosines(start, rows)
    assert norms == [5, 5, 5, 0]
    assert cosines == [0, 0, -1, 0]


@given(draw.integers(2, 7), draw.sampled_from([3, 40_000]), draw.integers(0, 99))
def test_norms_and_cosines_are_those_of_the_whole_vectors(count: int, size: int, seed: int) -> None:
    vectors = torch.randn(count, size, generator=torch.Generator().manual_seed(seed))
    start = torch.linspace(0, 1, size)
    norms, cosines = norms_and_cosines(start, Rows(list(vectors)))
    moved = (vectors - start).double()
    for i, (norm, cosine) in enumerate(zip(norms, cosines, strict=True)):
        rest = moved.sum(dim=0) - moved[i]
        assert norm == pytest.approx(moved[i].norm().item(), rel=1e-4)
        assert cosine == pytest.approx(torch.cosine_similarity(moved[i], rest, dim=0).item(), abs=1e-4)


def cohort(*vectors: Sequence[float]) -> list[Update]:
    return [Update(f"s{i}", 1, vector(*values), 30, 0.0, 0.0) for i, values in enumerate(vectors)]


def test_a_large_update_and_an_opposite_one_are_named() -> None:
    start, usual = vector(0.0, 0.0), ([1.0, 0.1], [1.0, -0.1], [1.0, 0.2], [1.0, -0.2], [1.0, 0.0])
    assert by_size_and_direction(start, cohort(*usual)) == {}
    found = by_size_and_direction(start, cohort(*usual, [5.0, 0.0], [-1.0, 0.0], [0.0, 1.0]))
    assert found["s5"] == ["its update is 5.0 times as large as is usual"]
    assert found["s6"][0].startswith("its update points elsewhere than the others' (cosine -1.00, where 0.97 is usual)")
    assert found["s7"][0].startswith("its update points elsewhere")
    assert list(found) == ["s5", "s6", "s7"]


def test_where_stores_do_not_agree_no_direction_is_strange() -> None:
    assert (
        by_size_and_direction(vector(0.0, 0.0), cohort([1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [1.0, 1.0]))
        == {}
    )


EVEN = np.full(3, 1 / 3)
GOOD = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
SWAPPED = np.array([[0.3, 0.6, 0.1], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8]])  # boots for hats, and hats for boots
NEW = np.full((3, 3), 1 / 3)
CLASSES = ("boot", "hat", "shirt")


def looked(last: Looked, count: int = 4) -> dict[str, Looked]:
    return {f"s{number}": Looked(GOOD, EVEN) for number in range(count)} | {"last": last}


def test_swapped_labels_are_told_with_their_classes() -> None:
    assert by_effect(GOOD, looked(Looked(SWAPPED, EVEN)), CLASSES) == {
        "last": "its model takes boot for hat (60%) and hat for boot (50%): are the two exchanged?"
    }
    assert exchanged(Looked(SWAPPED, EVEN), [Looked(GOOD, EVEN)] * 3, GOOD) == (0, 1)


def test_a_store_that_lacks_a_class_may_forget_it() -> None:
    forgetful = np.array([[0.1, 0.8, 0.1], [0.0, 0.9, 0.1], [0.0, 0.1, 0.9]])  # it takes all boots for hats
    assert by_effect(GOOD, looked(Looked(forgetful, np.array([0.0, 0.5, 0.5]))), CLASSES) == {}
    assert by_effect(GOOD, looked(Looked(SWAPPED, np.array([0.0, 0.1, 0.9]))), CLASSES) == {}


def test_a_store_that_is_worse_on_its_own_classes_is_told() -> None:
    worse = np.array([[0.2, 0.4, 0.4], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    found = by_effect(GOOD, looked(Looked(worse, np.array([0.9, 0.1, 0.0]))), CLASSES)
    assert found == {
        "last": "its model knows 26% of its own kinds of images, where other stores' know 80% of theirs: are its"
        " labels right?"
    }


def test_in_the_beginning_nobody_knows_anything_and_nobody_is_suspected() -> None:
    new = {f"s{number}": Looked(NEW, EVEN) for number in range(4)} | {"last": Looked(np.eye(3)[[1, 0, 2]] * 0.1, EVEN)}
    assert by_effect(NEW, new, CLASSES) == {}


def test_three_stores_are_too_few_to_say_what_is_usual() -> None:
    assert by_effect(GOOD, looked(Looked(SWAPPED, EVEN), 2), CLASSES) == {}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"data.dataset": "stores"}, True),
        ({"screening.detect": "on"}, True),
        ({"data.dataset": "stores", "screening.detect": "off"}, False),
    ],
)
def test_real_stores_are_looked_at_and_simulated_ones_if_asked_for(settings: dict[str, str], expected: bool) -> None:
    assert is_on(resolve(settings)) is expected


@dataclass
class Products:
    """Stores of a federation that train for real; `bad` has swapped its labels, or answers with the opposite."""

    stores_of: Federation
    bad: str
    how: str

    def __post_init__(self) -> None:
        self._infos, self._trainer = self.stores_of.infos(), Trainer(CPU, StateStore(Path("unused")))

    def stores(self) -> Mapping[str, StoreInfo]:
        return self._infos

    def resting(self) -> float:
        return 0.0

    def held_back(self) -> Mapping[str, str]:
        return {}

    def set_aside(self, store: str, why: str) -> None:
        self._infos.leave_out(store)

    def expect(self, order: TrainOrder, stores: Sequence[str]) -> None:
        """Nothing is idle here."""

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        for name in stores:
            images, is_bad = self.stores_of.stores[name].train, name == self.bad
            update = self._trainer.train(order, name, swapped(images) if is_bad and self.how == "swapped" else images)
            opposite = 2 * order.params - update.params
            yield replace(update, params=opposite) if is_bad and self.how == "opposite" else update

    def evaluate(self, order: EvaluateOrder, stores: Sequence[str]) -> Iterator[Evaluation | Failure]:
        yield from ()


def swapped(images: Images) -> Images:
    """The same with the two classes exchanged of which there are most."""
    first, second = torch.bincount(images.targets()).argsort(descending=True, stable=True)[:2].tolist()
    labels = images.labels.clone()
    labels[images.labels == first], labels[images.labels == second] = second, first
    return Images(images.pixels, labels, images.rows)


def begun(partition: str, rounds: int) -> tuple[Start, Federation]:
    chosen = {"data.dataset": "shelf", "data.stores": 8, "data.partition": partition, "run.rounds": rounds}
    chosen |= {"train.lr": 0.02, "model.name": "niid-cnn", "screening.detect": "on", "evaluation.stores": False}
    config: RunConfig = settle(resolve(chosen, {"run.device": "cpu", "run.seed": 1}), 32, 3)
    stores = federation.build(config, image_size=config.data.image_size, channels=3)
    return prepare(config, stores.classes, 3).identified("run"), stores


def suspects(partition: str, how: str, rounds: int) -> dict[str, str]:
    """Who is under suspicion after some rounds of real training, and why."""
    start, stores = begun(partition, rounds)
    assert stores.test is not None
    gate = Gate(sample=sample_of(ServerTest(start.plan, stores.test, CPU), start.plan.config))
    runtime, notes = Products(stores, "store-2", how), Notes()
    playing = Rounds(start.plan, start.layout, runtime, None, notes, lambda: False, gate)
    state = playing.begin(start.params)
    for _ in range(rounds):
        state, record = playing.play(state)
        state = replace(state, record=record)
    found: dict[str, str] = record["standing"]["suspects"]
    assert [note.split(" is under")[0] for note in notes.notes] == list(found)
    return found


def test_a_store_that_answers_with_the_opposite_is_found_within_three_rounds() -> None:
    found = suspects("iid", "opposite", 3)
    assert list(found) == ["store-2"]
    assert "points elsewhere" in found["store-2"]


@pytest.mark.slow
@pytest.mark.parametrize("partition", ["iid", "dirichlet:0.3"])
def test_a_store_with_two_classes_exchanged_is_found_and_honest_ones_are_left_in_peace(partition: str) -> None:
    found = suspects(partition, "swapped", 10)
    assert list(found) == ["store-2"]
    assert "are the two exchanged?" in found["store-2"]
    assert suspects(partition, "honest", 10) == {}


def test_the_sample_has_as_many_images_of_each_class() -> None:
    start, stores = begun("iid", 1)
    assert stores.test is not None
    whole = ServerTest(start.plan, stores.test, CPU)
    counted = whole.sample(LOOK, 0)(start.params).confusion.sum(axis=1)
    assert counted.tolist() == [LOOK // len(stores.classes)] * len(stores.classes)
    assert whole.sample(10**6, 0)(start.params).num_examples == len(stores.test)
