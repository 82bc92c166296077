"""The reasons for which a store or the server does not take the next step of a secure sum."""

from typing import Literal

from fedshelf.common.errors import FedshelfError

SumFault = Literal[
    "unknown-store",  # no certificate of the office, a wrong signature, or keys of another round
    "wrong-roster",  # a list of stores that names one twice, lacks this one, or differs from before
    "too-few-stores",  # a cohort or a threshold that hides a store among too few others
    "changed-shares",  # sealed shares that do not open: changed, or for another order or roster
    "second-vector",  # another vector under masks that have hidden one
    "second-survivors",  # another set of survivors than the one that was answered
    "already-summed",  # a new attempt at a round whose sum may be known
    "out-of-turn",  # a step of an attempt that was never begun, or that a newer one has replaced
    "malformed",  # bytes that are no message of the protocol
    "wrong-share",  # revealed shares that do not give the secret that their store committed to
    "diverged",  # a vector that is not finite
]


class SecureSumError(FedshelfError):
    """A step of a secure sum that is refused.

    Attributes:
        code: the reason, for programs; the sentence is for people
    """

    def __init__(self, code: SumFault, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
