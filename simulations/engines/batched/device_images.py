"""Arrays of images on a device, each moved once as a whole."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fedshelf.common.images.types import Images


class DeviceImages:
    """The arrays that hold stores' images, on `device`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # address -> the array there, the same on the device
        self._arrays: dict[int, tuple[Tensor, Images]] = {}
        self._parts: list[Images] = []  # the parts of the joined array
        self._starts: dict[int, int] = {}  # address -> start of a part in the joined array
        self._joined: Images | None = None

    def on_device(self, images: Images) -> Images:
        """Return the array of `images` on the device, with no rows selected."""
        address = images.inputs.data_ptr()
        if address not in self._arrays:
            moved = images.at(images.rows[:0]).to(self._device)
            self._arrays[address] = (images.inputs, moved)
        return self._arrays[address][1]

    def select(self, images: Images) -> Images:
        """Return `images` with their array on the device; their rows stay on their device."""
        return self.on_device(images).at(images.rows)

    def join(self, sets: Sequence[Images]) -> tuple[Images, list[int]]:
        """Return one array that has all of `sets`, and the start of each one's array in it; it
        never changes.

        Sets of one data set share an array, which is not copied then. A folder per store has an
        array each.
        """
        num_known = len(self._starts)
        for images in sets:
            if images.inputs.data_ptr() not in self._starts:
                self._starts[images.inputs.data_ptr()] = sum(
                    len(part.labels) for part in self._parts
                )
                self._parts.append(self.on_device(images))
        if len(self._starts) > num_known:
            first, *others = self._parts
            self._joined = first
            if others:
                pixels, labels = (
                    torch.cat([getattr(p, field) for p in self._parts])
                    for field in ("inputs", "labels")
                )
                annotations = [p.annotations for p in self._parts if p.annotations is not None]
                self._joined = Images(pixels, labels, first.rows, _joined(annotations))
        assert self._joined is not None
        return self._joined, [self._starts[images.inputs.data_ptr()] for images in sets]


def _joined(annotations: Sequence[Tensor]) -> Tensor | None:
    """Return all annotations in one tensor; None if there are none.

    Photos with fewer boxes than others get rows without an area (`Images.annotations`).
    """
    if not annotations:
        return None
    most = max(part.shape[1] for part in annotations)
    padded = [
        functional.pad(part, (0, 0, 0, most - part.shape[1])) if part.shape[1] < most else part
        for part in annotations
    ]
    return torch.cat(padded)
