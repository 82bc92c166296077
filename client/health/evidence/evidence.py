"""All that the checks judge: gathered first, so that every check is a plain function of it."""

from dataclasses import dataclass

from fedshelf.client.health.evidence.label_errors import LabelErrors
from fedshelf.client.health.evidence.machine import Machine
from fedshelf.client.health.evidence.photos import PhotoEvidence
from fedshelf.client.health.evidence.server_probe import ServerProbe


@dataclass(frozen=True)
class Evidence:
    """What is known of one store.

    line:    what came of calling the server; None if it was not called
    guesses: what a model makes of the photos; None without a model
    policy:  why the store's policy cannot be used, or nothing
    """

    photos: PhotoEvidence
    machine: Machine
    line: ServerProbe | None = None
    guesses: LabelErrors | None = None
    policy: str = ""
