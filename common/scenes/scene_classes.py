"""The classes of a run on photos of scenes."""

from dataclasses import dataclass

ANY_PRODUCT = ("product",)
"""The one class of boxes, unless a run's settings name others."""


@dataclass(frozen=True)
class SceneClasses:
    """The classes by which a run reads labels of scenes.

    Attributes:
        outputs: of the network
        products: those of products; (): a product is a product, whatever its class
        merge: True if a class may be spelt differently in the labels
    """

    outputs: tuple[str, ...]
    products: tuple[str, ...] = ()
    merge: bool = False
