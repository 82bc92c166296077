"""All facts that the checks judge: gathered first, so that every check is a plain function of
them.
"""

from dataclasses import dataclass

from fedshelf.client.health.evidence.label_errors import LabelErrors
from fedshelf.client.health.evidence.machine import Machine
from fedshelf.client.health.evidence.photos import PhotoEvidence
from fedshelf.client.health.evidence.server_probe import ServerProbe


@dataclass(frozen=True)
class Evidence:
    """All known facts about one store.

    Attributes:
        photos: The contents of its photo folder.
        machine: The hardware that trains.
        probe: Result of calling the server; None if it was not called.
        label_errors: Labels that a model doubts; None without a model.
        policy_error: Why the store's policy cannot be used; empty if it can.
    """

    photos: PhotoEvidence
    machine: Machine
    probe: ServerProbe | None = None
    label_errors: LabelErrors | None = None
    policy_error: str = ""
