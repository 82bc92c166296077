"""Orders of the server and answers of the stores, independent of any transport.

A parameter vector is float32 [P]: all parameters that train, then the floating-point buffers, in
the fixed order of `common.parameters.layout.Layout`. Integer buffers and frozen parameters are not
part of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, TypeVar

from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.failures import Failure, FailureCode


@dataclass(frozen=True)
class Plan:
    """The constants of a run, the same at the server and at every store.

    run_id: identity of the run; stores keep their state by it
    config: its resolved settings
    spec: its model
    frozen: float32 [F], parameters that do not train, or None; sent to a store once
    """

    run_id: str
    config: RunConfig
    spec: ModelSpec
    frozen: Tensor | None = None


@dataclass(frozen=True)
class SumTerms:
    """The constants of a secure sum that a round sets, the same for all its stores.

    stores: most stores that can be in the sum, so that it cannot wrap round
    images: number of images from which on a store's weight grows no more
    """

    stores: int
    images: int


@dataclass(frozen=True)
class SumPart:
    """The part of an order to train that is of a secure sum, and differs from store to store.

    attempt: number of the attempt at the round's sum, from 0
    boxes: the shares that other stores have sealed for the store
    """

    attempt: int
    boxes: bytes


@dataclass(frozen=True)
class TrainOrder:
    """An order to train locally from `params` (float32 [P]).

    round: number of the round, from 1
    extras: tensors that the strategy's server half adds
    committed: last checkpointed round. A store must still have the client state from which it
        trains the round after it, so that this round can be repeated.
    best: the round whose model is the best so far; a store must still have its client state, too
    terms: of the secure sum that the updates go into; None: each update goes to the server
    secure_sum: the store's own part of that sum
    """

    plan: Plan
    round: int
    params: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    committed: int = 0
    best: int = 0
    terms: SumTerms | None = None
    secure_sum: SumPart | None = None


@dataclass(frozen=True)
class EvaluateOrder:
    """An order to evaluate `params` (float32 [P]) on images that a store holds out.

    round: number of the round; the answer repeats it
    split: the images
    temperatures: temperatures at which to count confidence and right answers
        (`common.metrics.calibration`); empty: no such counts
    terms: of the secure sum that the counts go into; None: each store's go to the server
    secure_sum: the store's own part of that sum
    """

    plan: Plan
    round: int
    params: Tensor
    split: Literal["validation", "test"] = "validation"
    temperatures: tuple[float, ...] = ()
    terms: SumTerms | None = None
    secure_sum: SumPart | None = None


OrderT = TypeVar("OrderT", TrainOrder, EvaluateOrder)


@dataclass(frozen=True)
class DetachedOrder(Generic[OrderT]):
    """An order on its way inside one machine, without the fields that reach the receiver apart.

    Large fields lie in shared memory, and a resident process has the plan. All other fields travel
    here. The code lists none of them by name: taking an order apart by hand, and making another
    one, is how a field gets lost.

    order_type: the class of the order
    fields_here: field name -> value, of the fields that travel here
    detached: the names of the fields that do not
    """

    order_type: type[OrderT]
    fields_here: Mapping[str, Any]
    detached: frozenset[str]

    @classmethod
    def detach(cls, order: OrderT, *names: str) -> "DetachedOrder[OrderT]":
        """Return `order` without its fields `names`."""
        fields_here = {field.name: getattr(order, field.name) for field in fields(order)}
        for name in names:
            del fields_here[name]
        return cls(type(order), fields_here, frozenset(names))

    def attach(self, **detached: Any) -> OrderT:
        """Return the order again, given exactly the fields that it was detached from."""
        assert detached.keys() == self.detached, (
            f"got {sorted(detached)}, expected {sorted(self.detached)}"
        )
        return self.order_type(**self.fields_here, **detached)


@dataclass(frozen=True)
class Update:
    """A store's result of training.

    params: float32 [P], the locally trained vector itself, not a difference, as the server has it
    num_examples: images trained on (of the store's training split, not times epochs)
    loss: mean training loss per image over the last local epoch; None: the store's policy
        withholds it
    seconds: wall time of the local training, s
    extras: tensors that the strategy's client half adds
    packed: the tensors that travel in place of `params` if updates are compressed; dropped on
        arrival
    packed_bytes: their size; 0: not compressed
    steps: optimizer steps taken
    images_by_class: float64 [C], images of each class that this update represents, filled in by
        the server on arrival; None if they are not needed
    """

    store: str
    round: int
    params: Tensor
    num_examples: int
    loss: float | None
    seconds: float
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    packed: Mapping[str, Tensor] | None = None
    packed_bytes: int = 0
    steps: int = 0
    images_by_class: Tensor | None = None

    def params_slice(self, begin: int, end: int) -> Tensor:
        """Return the coordinates [begin, end) of `params`: float32 [end - begin].

        If they lie on disk, only these are read.
        """
        return self.params[begin:end]

    @property
    def wire_bytes(self) -> int:
        """The size of its tensors on the wire, bytes."""
        extras_bytes = sum(tensor.nbytes for tensor in self.extras.values())
        return (self.packed_bytes or self.params.nbytes) + extras_bytes


@dataclass(frozen=True)
class Summand:
    """A store's answer to an order with `terms`, which leaves it under masks alone.

    vector: int32 or int16 [Q], elements of the ring
        (`common.strategies.shared.sum_layout`, `common.metrics.summed_counts`)
    seconds: wall time of the work, s
    num_examples: images trained on; they do not leave the store
    """

    store: str
    round: int
    vector: Tensor
    seconds: float = 0.0
    num_examples: int = 0


@dataclass(frozen=True)
class SumTotal:
    """The sum of the stores' vectors, which is all that the server learns of an order with `terms`.

    stores: the stores in the sum, sorted
    vector: int32 or int16 [Q], elements of the ring
    terms: under which it was taken; None: those of the order
    """

    round: int
    stores: tuple[str, ...]
    vector: Tensor
    terms: SumTerms | None = None


@dataclass(frozen=True)
class Evaluation:
    """A store's result of an evaluation.

    counts: counts by the model's own scores
    adjusted: counts of the same images, with the store's adjustment
        (`common.strategies.shared.class_skew`) added to the scores; None: no adjustment
    """

    store: str
    round: int
    counts: Counts
    adjusted: Counts | None = None


@dataclass(frozen=True)
class StoreInfo:
    """A store's description of itself when it joins.

    counts: training images per class name of the store's own folders
    validation, test: images held out
    undisclosed_images: training images whose class the store keeps to itself
    withholds_evaluations: the store's policy lets no evaluation leave; then no images are told as
        held out
    version: version of Fedshelf at the store; empty: unknown. It does not count when two are
        compared.
    """

    name: str
    counts: Mapping[str, int]
    validation: int
    test: int
    undisclosed_images: int = 0
    withholds_evaluations: bool = False
    version: str = field(default="", compare=False)

    @property
    def num_examples(self) -> int:
        """The number of training images."""
        return sum(self.counts.values()) + self.undisclosed_images


__all__ = [
    "DetachedOrder",
    "EvaluateOrder",
    "Evaluation",
    "Failure",
    "FailureCode",
    "Plan",
    "StoreInfo",
    "SumPart",
    "SumTerms",
    "SumTotal",
    "Summand",
    "TrainOrder",
    "Update",
]
