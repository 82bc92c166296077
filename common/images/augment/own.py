"""An augmentation of a person's own, or of an installed package: `data.augmentation`.

It is a function of (pixels, numbers), an object that is called so, or a class of such objects,
which is made anew for each batch:

    def fade(pixels, numbers):
        return pixels * (1 - 0.5 * numbers[:, 0, None, None, None]).to(pixels.dtype)

It comes after Fedshelf's own options that change each image alone, and before images are mixed.
All that it draws are the numbers that it is given, and it treats each image alone: so all engines,
and a resumed run, see the same images, and a private step knows what each image adds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fedshelf.common import plugins
from fedshelf.common.errors import ConfigError
from fedshelf.common.seeding import rng

DRAWS_PER_IMAGE = 8  # unless the augmentation has an attribute `draws`
MAX_DRAWS_PER_IMAGE = 1024
CHECK_IMAGES = 16
ROUNDING = 1.0  # of 255: by this much may an image differ between a large batch and a small one

_EXPECTED = "expected a function of (pixels, numbers), or a class whose objects are called so"


@dataclass(frozen=True)
class OwnAugmentation:
    """An augmentation that a run names.

    Attributes:
        name: as settings have it
        change: from pixels [B, S, S, C], uint8 or float32, 0 to 255, and numbers float64 [B, draws]
            within [0, 1), to pixels of the same shape, uint8 or float32, 0 to 255
        draws: numbers that it is given for each image
    """

    name: str
    change: Callable[[Tensor, Tensor], Tensor]
    draws: int

    def __call__(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        """Return the changed pixels; arguments as for `change`.

        Raises:
            ConfigError: it fails, or returns something else.
        """
        try:
            changed = self.change(pixels, numbers)
        except Exception as error:  # a person's code may raise anything
            raise ConfigError(
                f"The augmentation {self.name} fails on pixels {list(pixels.shape)} and numbers"
                f" {list(numbers.shape)}: {type(error).__name__}: {error}."
            ) from error
        is_tensor = isinstance(changed, Tensor)
        if (
            not is_tensor
            or changed.shape != pixels.shape
            or changed.dtype not in (torch.uint8, torch.float32)
            or changed.device != pixels.device
        ):
            got = (
                f"{changed.dtype} {list(changed.shape)} on {changed.device}"
                if is_tensor
                else f"a {type(changed).__name__}"
            )
            raise ConfigError(
                f"The augmentation {self.name} returned {got} for pixels {pixels.dtype}"
                f" {list(pixels.shape)} on {pixels.device}; expected uint8 or float32 of the same"
                " shape there, 0 to 255."
            )
        return changed


def find(name: str) -> OwnAugmentation:
    """Return the augmentation of a name.

    Args:
        name: `module:Object`, or that of an entry point of the group fedshelf.augmentations

    Raises:
        ConfigError: there is none, or it is something else.
    """
    found = plugins.find_plugin(plugins.AUGMENTATION, name, ())
    if found is None:
        known = ", ".join(plugins.plugin_names(plugins.AUGMENTATION)) or "none is installed"
        raise ConfigError(
            f"Setting data.augmentation got {name!r}; allowed: module:Object, your own, or one of"
            f" an installed package ({known})."
        )
    try:
        change = found() if isinstance(found, type) else found
    except Exception as error:  # a person's code may raise anything
        raise ConfigError(
            f"The augmentation {name} cannot be made: {type(error).__name__}: {error}; expected a"
            " class that is called without arguments."
        ) from error
    draws = getattr(change, "draws", DRAWS_PER_IMAGE)
    if not callable(change):
        raise ConfigError(f"The augmentation {name} is a {type(change).__name__}; {_EXPECTED}.")
    if not isinstance(draws, int) or not 0 <= draws <= MAX_DRAWS_PER_IMAGE:
        raise ConfigError(
            f"The augmentation {name} has draws = {draws!r}; expected the count of numbers that it"
            f" needs for each image, 0 to {MAX_DRAWS_PER_IMAGE}."
        )
    return OwnAugmentation(name, change, draws)


def check_augmentation(name: str, size: int, channels: int) -> None:
    """Check all that an augmentation must obey, before a run begins.

    Args:
        name: as settings have it
        size: side of the images, pixels
        channels: of the images: 1 (grey) or 3 (RGB)

    Raises:
        ConfigError: there is none of this name, it fails, returns something else than pixels,
            changes those that it is given, draws from elsewhere, or an image depends on others.
    """
    random = rng(0, "check of augmentation")
    draws = find(name).draws
    shape = (CHECK_IMAGES, size, size, channels)
    pixels = torch.from_numpy(random.integers(0, 256, shape)).to(torch.uint8)
    numbers = torch.from_numpy(random.random((CHECK_IMAGES, draws)))
    for given in (pixels, pixels.to(torch.float32)):
        _check_on(name, given, numbers)


def _check_on(name: str, pixels: Tensor, numbers: Tensor) -> None:
    before = pixels.clone()
    changed = find(name)(pixels, numbers)
    if not torch.equal(pixels, before):
        raise ConfigError(
            f"The augmentation {name} changes the pixels that it is given; return others, as of"
            " pixels.clone()."
        )
    values = changed.to(torch.float32)
    if not bool(torch.isfinite(values).all()) or values.min() < 0 or values.max() > 255:
        raise ConfigError(
            f"The augmentation {name} returned values from {values.min():g} to {values.max():g};"
            " expected 0 to 255: end it with .clamp(0, 255)."
        )
    if not torch.equal(changed, find(name)(pixels, numbers)):
        raise ConfigError(
            f"The augmentation {name} gives other pixels for the same numbers, so no run could be"
            " repeated; draw nothing itself, take the numbers that it is given, and keep nothing"
            " between batches."
        )
    alone = [
        find(name)(pixels[at : at + 1], numbers[at : at + 1]).to(torch.float32)
        for at in range(len(pixels))
    ]
    if (torch.cat(alone) - values).abs().max() > ROUNDING:
        raise ConfigError(
            f"The augmentation {name} changes an image in another way if others are beside it in"
            " the batch; change each image by its own pixels and numbers (data.mixup and"
            " data.cutmix mix images)."
        )
