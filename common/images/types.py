"""Images in memory: one array of pixels, or of features computed from them, and rows of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Labelled images, as a selection of rows of a shared array that is never copied.

    inputs: what a network gets of each image, often memory-mapped: pixels, uint8 [M, height, width,
        channels]; or features, float32 [M, views, ...], from which the part of a network that
        trains goes on (see `common.training.features`)
    labels: int64 [M], an index into the classes that the owner of the images keeps
    rows:   int64 [N], the rows of `inputs` that belong to this set, in order
    annotations: the products on the photos of scenes: boxes, float32 [M, K, 5] (left, top, right
        and bottom edge in pixels of `inputs`, and the class; rows without an area are padding), or
        masks, uint8 [M, height, width] (`common.tasks`); None: an image has its label alone
    """

    inputs: Tensor
    labels: Tensor
    rows: Tensor
    annotations: Tensor | None = None

    @classmethod
    def whole(cls, pixels: Tensor, labels: Tensor) -> "Images":
        """Return all rows of uint8 pixels [N, H, W, channels] with int64 labels [N]."""
        assert pixels.dtype == torch.uint8, pixels.dtype
        assert labels.dtype == torch.int64, labels.dtype
        assert pixels.ndim == 4, pixels.shape
        assert labels.shape == pixels.shape[:1], (labels.shape, pixels.shape)
        return cls(pixels, labels, torch.arange(len(labels), device=labels.device))

    @property
    def are_features(self) -> bool:
        """True if `inputs` are features, False if they are pixels."""
        return self.inputs.is_floating_point()

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, positions: Tensor) -> "Images":
        """Return the images at these positions (int64 [K], counted within this set)."""
        return self.at(self.rows[positions])

    def at(self, rows: Tensor) -> "Images":
        """Return the images at these rows of the array (int64 [K])."""
        return replace(self, rows=rows)

    def whole_array(self) -> "Images":
        """Return the images of all rows of the array, in order."""
        return self.at(torch.arange(len(self.labels), device=self.rows.device))

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return copies of inputs and targets.

        Args:
            positions: int64 [K], counted within this set

        Returns:
            uint8 [K, height, width, channels], or float32 [K, views, ...]; and int64 [K], or
            annotations [K, ...] if there are any
        """
        # copies whole rows; inputs[rows] takes 5 to 20 times as long
        rows = self.rows.index_select(0, positions)
        return self.inputs.index_select(0, rows), self.learned.index_select(0, rows)

    @property
    def learned(self) -> Tensor:
        """The targets of a network, of all rows: annotations if there are any, else labels."""
        return self.labels if self.annotations is None else self.annotations

    def targets(self) -> Tensor:
        """Return the labels of all images of this set: int64 [N]."""
        return self.labels[self.rows]

    def relabel(self, new_labels: Sequence[int]) -> "Images":
        """Return the same images with other labels.

        Args:
            new_labels: label -> new label; the label -1, which means no class, stays -1
        """
        # index -1 reads the last entry
        table = torch.tensor([*new_labels, -1], device=self.labels.device)
        return replace(self, labels=table[self.labels])

    def to(self, device: torch.device) -> "Images":
        """Return the same set with its whole array on `device`."""
        annotations = None if self.annotations is None else self.annotations.to(device)
        return Images(
            self.inputs.to(device), self.labels.to(device), self.rows.to(device), annotations
        )


@dataclass(frozen=True)
class StoreData:
    """The images of one store; each part may be empty."""

    train: Images
    validation: Images
    test: Images
