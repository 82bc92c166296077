"""Strategies that solve for the head in closed form, from sums over the features of all images.

The stores do not train. Each passes its images through the frozen network once and sends sums over
the inputs of the head. The server adds the stores' sums up and solves for the head:

    store:   sums_i = sum over its images of a function of (features x, class y)
    server:  head <- solve(sum_i sums_i)

A sum does not depend on how the images are spread over stores. So the head is the one that all
images in one place would give, whatever the partition, after a single round.

The server keeps the latest sums of each store. Sums that a store sends again replace its earlier
ones; a store that joins later adds its own. A store that only is away keeps its share in the model.
`ClosedForm.forget` drops a store's sums: the next head is exactly the one that the other stores
alone would give (exact unlearning of the head). The round loop forgets each store that is set
aside.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from fedshelf.common.config import STORES_OWN, RunConfig, StrategyConfig, flatten, known_keys
from fedshelf.common.config.data import AUGMENTATION_BEYOND_FLIP
from fedshelf.common.errors import ConfigError
from fedshelf.common.parameters.layout import Layout, Tensors
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.strategies.shared.base import Strategy

CLASS_SUMS = "class_sums"  # name of the tensor from `class_sums`, which every closed form sends
FEATURES_AT_ONCE = 4096  # images whose features are in float64 at a time
# separates the name of a sum from that of its store, in the server's state
_OF = "/"
_START = "start"  # in the server's state: the head before the first round


class ClosedForm(Strategy):
    """The base of strategies that need sums over features and no training.

    A subclass names its sums in `sum_shapes`, takes them in `summarise` and solves in `solve`.
    """

    closed_form: ClassVar = True
    # stores add their own shares of the classes to the scores when they use the model
    uses: ClassVar = frozenset({"absent_classes"})

    def __init__(self, config: StrategyConfig, layout: Layout | None = None) -> None:
        super().__init__(config, layout)
        if layout is not None:
            _check_head(layout)

    def incompatible_with(self, config: RunConfig) -> str | None:
        """Return why a run has no head to solve for, or asks for what needs training."""
        needed = {
            ("model.freeze", "backbone"): "solves for the head of a frozen network",
            ("train.objective", "classes"): "solves for product classes",
            ("messages.compression", "none"): "sends exact sums and no change of weights",
            ("strategy.average", "none"): "gives one exact model",
        }
        flat = flatten(config)
        if config.privacy.is_on:
            return f"sends exact sums over photos, and privacy.clip is {config.privacy.clip:g}"
        for (key, value), promise in needed.items():
            if flat[key] != value:
                return f"{promise}, and {key} is {flat[key]}, not {value}"
        if (ignored := _ignored(flat)) is not None:
            return f"trains nothing and has no use for {ignored}, which is {flat[ignored]}"
        is_simulated = config.data.dataset != STORES_OWN
        if is_simulated and config.run.rounds > 1 and config.cohort.fraction == 1:
            return (
                "is complete after one round of all stores of a simulation, and run.rounds is"
                f" {config.run.rounds}"
            )
        return None

    @abstractmethod
    def sum_shapes(self, features: int, classes: int) -> Mapping[str, tuple[int, ...]]:
        """Return the names and shapes of the sums, for D features and C classes."""

    @abstractmethod
    def solve(self, sums: Tensors, start: Tensor) -> Tensor:
        """Return the head that the sums give.

        Args:
            sums: float64, those of all stores together, in the shapes of `sum_shapes`
            start: float32 [C, D + 1], the head before round 1: each class's weights, then its bias

        Returns:
            [C, D + 1], laid out as `start`.
        """

    def expected_extras(self, trainable: int) -> Mapping[str, tuple[int, ...]]:
        """Return the names and shapes of the sums, which travel as float32."""
        return self.sum_shapes(self._head_shape[1], self._head_shape[0])

    def update_global_model(
        self,
        params: Tensor,
        updates: Sequence[Update],
        state: Tensors,
        trainable: int,
        present: Mapping[str, StoreInfo] | None = None,
    ) -> tuple[Tensor, Tensors]:
        """Return the model [P] with the head of all sums so far, and those sums by store.

        Without updates it is the head of the sums that the state has.
        """
        classes, _ = self._head_shape
        assert self.layout is not None
        slices = self.layout.head_slices()
        state = dict(state)
        if _START not in state:
            parts = [params[part].view(classes, -1) for part in slices]
            state[_START] = torch.cat(parts, dim=1).cpu()
        for update in updates:
            for name, tensor in _counted(update).items():
                state[name + _OF + update.store] = tensor.cpu().clone()
        head = self.solve(_totals(state), state[_START].cpu()).float().to(params.device)
        model = params.clone()
        for part, rows in zip(slices, (head[:, :-1], head[:, -1:]), strict=True):
            model[part] = rows.reshape(-1)
        return model, state

    def centred(self, vector: Tensor) -> Tensor:
        """Return the vector [P] as it is: no rounds add up in rows that are solved for anew."""
        return vector

    def forget(self, state: Tensors, stores: Collection[str]) -> Tensors:
        """Return the server's state without the sums of some stores.

        The next head owes nothing to them: it is the one that the other stores alone would give.
        """
        return {name: tensor for name, tensor in state.items() if _split(name)[1] not in stores}

    def contributors(self, state: Tensors) -> frozenset[str]:
        """Return the names of the stores whose sums are in the state."""
        return frozenset(store for _, store in map(_split, state)) - {""}

    @property
    def _head_shape(self) -> torch.Size:
        """C and D."""
        assert self.layout is not None
        return self.layout.shapes[self.layout.names.index(f"{self.layout.head}.weight")]


def _ignored(flat: Mapping[str, Any]) -> str | None:
    """Return the key of a setting that only training uses, if one is not at its default.

    Args:
        flat: all settings
    """
    defaults = known_keys() | {"train.epochs": 1, "train.objective": flat["train.objective"]}
    of_training = [key for key in defaults if key.startswith("train.")]
    of_training += ["model.dropout", *(f"data.{option}" for option in AUGMENTATION_BEYOND_FLIP)]
    given = {**flat, "train.epochs": flat["train.epochs"] or 1}
    return next((key for key in of_training if given[key] != defaults[key]), None)


def count_fault(counts: Tensor, num_examples: int) -> str | None:
    """Return why numbers of images by class cannot be true; None if they can.

    Args:
        counts: [C]
        num_examples: images that the store says it has used
    """
    if bool((counts < 0).any()) or not torch.equal(counts, counts.round()):
        return "claims numbers of images that are negative or no whole numbers"
    if (claimed := float(counts.double().sum())) != num_examples:
        return f"has classes of {claimed:g} images together, where it claims {num_examples} images"
    return None


def class_sums(values: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Return the sum of the vectors of each class, and the number of its images: [C, D + 1].

    Args:
        values: [N, D]
        targets: int64 [N]
        classes: C

    Returns:
        Float64, on the CPU. Sums of different images add up.

    >>> class_sums(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([1, 0, 1]), 2)
    tensor([[3., 4., 1.],
            [6., 8., 2.]], dtype=torch.float64)
    """
    sums = torch.zeros(classes, values.shape[1] + 1, dtype=torch.float64)
    for rows, labels in zip(
        values.split(FEATURES_AT_ONCE), targets.cpu().split(FEATURES_AT_ONCE), strict=True
    ):
        sums.index_add_(0, labels, with_ones(rows))
    return sums


def with_ones(features: Tensor) -> Tensor:
    """Return [x, 1] for each row x of the features [N, D]: float64 [N, D + 1] on the CPU."""
    return torch.nn.functional.pad(features.cpu().double(), (0, 1), value=1.0)


def _check_head(layout: Layout) -> None:
    """Raise ConfigError if the head is none that a closed form can give."""
    shape = layout.shapes[layout.names.index(f"{layout.head}.weight")]
    has_bias = len(layout.head_slices()) == 2
    if len(shape) != 2 or not has_bias or not layout.ends_in_head:
        raise ConfigError(
            "A strategy in closed form needs a network whose last layer is dense with a bias, and"
            f" the one here ends in {layout.head} with weights of shape {tuple(shape)}; use another"
            " model.name, or another strategy.name."
        )


def _counted(update: Update) -> Tensors:
    """Return the sums of an update, made smaller if it counts for fewer images than it has."""
    images = float(update.extras[CLASS_SUMS][:, -1].double().sum())
    if images <= update.num_examples:
        return update.extras
    return {name: tensor * (update.num_examples / images) for name, tensor in update.extras.items()}


def _totals(state: Tensors) -> dict[str, Tensor]:
    """Return the sums of all stores together, added in store order: float64 on the CPU."""
    totals: dict[str, Tensor] = {}
    for key in sorted(state):
        name, store = _split(key)
        if not store:
            continue
        tensor = state[key].cpu().double()
        totals[name] = totals[name] + tensor if name in totals else tensor
    return totals


def _split(key: str) -> tuple[str, str]:
    """Return the name of a sum and of its store, which is empty for what is of no store."""
    name, _, store = key.partition(_OF)
    return name, store
