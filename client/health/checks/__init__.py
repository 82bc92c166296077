"""The checks, one file per family; each check is a plain function of the gathered evidence."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from fedshelf.client.health.checks import classes, copies, files, machine, quality, scenes, server
from fedshelf.client.health.evidence.finding import Finding
from fedshelf.client.health.evidence.gather import Evidence


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        title: Statement that holds if nothing is found.
        quick: True if it needs no photo's pixels and no network.
        needs: Input without which there is nothing to check.
        only: Kind of the store's photos that it is about; None: any.
    """

    title: str
    find: Callable[[Evidence], Iterable[Finding]]
    quick: bool = False
    needs: Literal["server", "authority", "proof", "model", "policy"] | None = None
    only: Literal["products", "scenes"] | None = None

    def fits(self, evidence: Evidence) -> bool:
        """Return whether the photos are of the kind that it is about."""
        return self.only in (None, "scenes" if evidence.photos.scenes else "products")


CHECKS = (
    Check("Every file can be used", files.readable, quick=True),
    Check("Enough photos to train, validate and test on", files.splits, quick=True),
    Check("Every class has enough photos", classes.sizes, quick=True, only="products"),
    Check(
        "The class folders are not folders of stores or splits",
        classes.deep,
        quick=True,
        only="products",
    ),
    Check("No class outweighs the others", classes.balance, quick=True, only="products"),
    Check("Class names are distinct", classes.names, quick=True, only="products"),
    Check("The labels have boxes", scenes.boxes, quick=True, only="scenes"),
    Check("No box is odd", scenes.odd_boxes, quick=True, only="scenes"),
    Check("All photos have masks, or none", scenes.masks, quick=True, only="scenes"),
    Check("Every mask can be used", scenes.unusable_masks, only="scenes"),
    Check("No mask is empty", scenes.empty_masks, only="scenes"),
    Check("No photo is there twice", copies.exact, quick=True),
    Check("No photo looks like a copy of another", copies.near),
    Check("No label is in doubt", classes.doubts, needs="model"),
    Check("No photo is too dark", quality.dark),
    Check("No photo is over-exposed", quality.burnt),
    Check("No photo is blank", quality.blank),
    Check("No photo is blurred", quality.blurred),
    Check("No photo is too small or too narrow", quality.shape),
    Check("The graphics card works", machine.device, quick=True),
    Check("Enough memory", machine.memory, quick=True),
    Check("Enough room on the disk", machine.disks, quick=True),
    Check("The server answers", server.answers, needs="server"),
    Check("The chain knows every class", classes.unknown, needs="proof", only="products"),
    Check("The server's certificate is good", server.certificate, needs="authority"),
    Check("The clocks agree", server.clock, needs="server"),
    Check("The store's policy is valid", machine.policy, quick=True, needs="policy"),
)
