"""The work W1, W2 and W3: the federated trainings on which simulators are compared."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """One federated training on CIFAR-10, dealt IID, plain FedAvg.

    Attributes:
        model: a network of ours, which `benchmarks.rivals.networks` has by the same name
        stores: number of stores that share the images
        cohort: stores of a round
        rounds: number of rounds
        batch_size: images a step
        lr: learning rate of local SGD
        momentum: momentum of local SGD
        every: rounds between evaluations on the test images; the last round always has one
        epochs: passes over a store's images in a round
        seed: seed of all random numbers
        device: name of the device in torch; "auto": a GPU if there is one
    """

    model: str
    stores: int
    cohort: int
    rounds: int
    batch_size: int
    lr: float
    momentum: float
    every: int
    epochs: int = 1
    seed: int = 1
    device: str = "cpu"

    @property
    def title(self) -> str:
        """The work in one line."""
        return (
            f"{self.model}, {self.cohort} of {self.stores} stores a round, batch {self.batch_size},"
            f" {self.rounds} rounds on {self.device}"
        )


_W1 = Work(
    "niid-cnn", stores=100, cohort=10, rounds=10, batch_size=32, lr=0.05, momentum=0.9, every=5
)
_W2 = Work(
    "mcmahan-cnn", stores=100, cohort=10, rounds=10, batch_size=32, lr=0.05, momentum=0.9, every=5
)
_W3 = Work(
    "pfl-cnn",
    stores=1000,
    cohort=50,
    rounds=1500,
    batch_size=10,
    lr=0.1,
    momentum=0.0,
    every=10,
    device="auto",
)

WORKS = {"w1": _W1, "w2": _W2, "w3": _W3}
