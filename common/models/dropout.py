"""Dropout whose masks have an address: the same on every device, in every grouping of stores.

Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014, "Dropout: A Simple Way to Prevent
Neural Networks from Overfitting"; whole channels: Tompson et al. 2015, "Efficient Object
Localization Using Convolutional Networks". torch's generators differ between CPU and GPU and
between batch shapes. Here an integer hash of (key, layer, call, row of the batch, element) decides
which elements are dropped: a store draws the same alone and beside others. Integer arithmetic wraps
alike everywhere.
"""

import itertools

import numpy as np
import torch
from torch import Tensor, nn

# The finaliser "lowbias32" of C. Wellons, "Prospecting for Hash Functions" (2018), and odd numbers,
# all as int32.
_MIX1 = 0x7FEB352D
_MIX2 = 0x846CA68B - (1 << 32)
_ELEMENT = 0x9E3779B9 - (1 << 32)
_ROW = 0x85EBCA6B - (1 << 32)
_CALL = 0x27D4EB2F
_WORDS = 1 << 16  # each element takes 16 bits of the hash


class Dropout(nn.Module):
    """A layer that, in training, sets features to zero with `probability` and scales up the others.

    With `whole_channels` it drops channels. Inputs are [S * B, ...]: B rows of each of S stores,
    one store after the other; see `set_keys`.
    """

    def __init__(self, probability: float, *, whole_channels: bool = False) -> None:
        super().__init__()
        self.probability = probability
        self._whole_channels = whole_channels
        self._keys: Tensor | None = None  # int32 [S, 2], keys of the stores
        self._calls: Tensor | None = None  # int32 [], a tensor, so that a recorded step counts, too
        self._stores = 1  # number of them that train
        self.first_row = 0  # place of the next rows in their batch
        self._element_hashes: dict[int, Tensor] = {}  # number of elements of a row -> int32 [pairs]

    @property
    def p(self) -> float:
        """The probability, by PyTorch's name: timm's attention layers read it."""
        return self.probability

    def forward(self, features: Tensor) -> Tensor:
        """Return the features [S * B, ...] with some dropped: the same shape."""
        if not self.training or self.probability == 0:
            return features
        shape = features.shape[: 2 if self._whole_channels else None]
        threshold = round(self.probability * _WORDS) - _WORDS // 2
        keep = self._words(len(features), shape[1:].numel(), features.device) >= threshold
        factors = keep.to(features.dtype).mul_(1 / (1 - self.probability)).view(shape)
        return features * factors.reshape(shape + (1,) * (features.ndim - len(shape)))

    def set_keys(self, keys: Tensor) -> None:
        """Start anew, with the `keys` (int32 [S, 2]) of the stores that train at once."""
        if (
            self._keys is None
            or self._calls is None
            or (self._keys.shape, self._keys.device) != (keys.shape, keys.device)
        ):
            self._keys = keys.clone()
            self._calls = torch.zeros((), dtype=torch.int32, device=keys.device)
        else:  # in place: a recorded step reads the same memory
            self._keys.copy_(keys)
            self._calls.zero_()
        self._stores = len(keys)

    def calls(self) -> Tensor | None:
        """Return a copy of the number of calls since `set_keys`: int32 []."""
        return None if self._calls is None else self._calls.clone()

    def rewind(self, calls: Tensor | None, first_row: int) -> None:
        """Go back in a batch.

        Args:
            calls: int32 [], the number of calls to set; None: it stays
            first_row: place of the next rows in their batch
        """
        if self._calls is not None and calls is not None:
            self._calls.copy_(calls)
        self.first_row = first_row

    def limit_stores(self, stores: int) -> None:
        """Let only the first `stores` train from now on."""
        self._stores = stores

    def _words(self, rows: int, elements: int, device: torch.device) -> Tensor:
        """Return a uniform hash of every element: int16 [rows, elements]."""
        if self._keys is None or self._keys.device != device:
            self.set_keys(torch.zeros(1, 2, dtype=torch.int32, device=device))
        assert self._keys is not None
        assert self._calls is not None
        keys = self._keys[: self._stores]
        rows_in_batch = torch.arange(
            self.first_row, self.first_row + rows // len(keys), dtype=torch.int32, device=device
        )
        row = rows_in_batch * _ROW + self._calls * _CALL
        self._calls += 1
        first = keys[:, :1]
        second = keys[:, 1:, None]
        mixed = (row + first)[:, :, None] + self._pairs(elements, device)  # [S, B, pairs]
        # int32 shifts are arithmetic: clear the copies of the sign
        mixed ^= (mixed >> 16).bitwise_and_(0xFFFF)
        mixed *= _MIX1
        mixed += second
        mixed ^= (mixed >> 15).bitwise_and_(0x1FFFF)
        mixed *= _MIX2
        mixed ^= (mixed >> 16).bitwise_and_(0xFFFF)
        return mixed.view(torch.int16).flatten(0, 1)[:, :elements]

    def _pairs(self, elements: int, device: torch.device) -> Tensor:
        """Return the start of the hash for every two elements of a row: int32 [pairs]."""
        element_hashes = self._element_hashes.get(elements)
        if element_hashes is None or element_hashes.device != device:
            element_hashes = (
                torch.arange((elements + 1) // 2, dtype=torch.int32, device=device) * _ELEMENT
            )
            self._element_hashes[elements] = element_hashes
        return element_hashes


def replace_dropout(module: nn.Module) -> None:
    """Replace torch's dropout layers inside `module` by ours, in place.

    Names in the state dict stay.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout | nn.Dropout2d):
            setattr(module, name, Dropout(child.p, whole_channels=isinstance(child, nn.Dropout2d)))
        else:
            replace_dropout(child)


def seed_dropout(module: nn.Module, seeds: list[int], device: torch.device) -> None:
    """Give all dropout layers of a network the keys of stores that train at once.

    Args:
        module: the network
        seeds: one seed below 2^63 for each store, in the order of the stores' rows
        device: the device of the network
    """
    halves = np.array([[seed & 0xFFFFFFFF, seed >> 32] for seed in seeds], dtype=np.uint64)
    for layer, index in zip(dropout_layers(module), itertools.count(1)):
        # this arithmetic wraps, too
        layer_keys = halves * np.uint64(0x9E3779B97F4A7C15) + np.uint64(
            index * 0xD1B54A32D192ED03 % 2**64
        )
        layer.set_keys(
            torch.from_numpy((layer_keys >> np.uint64(32)).astype(np.uint32).view(np.int32)).to(
                device
            )
        )


def limit_stores(module: nn.Module, stores: int) -> None:
    """Let only the first `stores` of the stores that have keys train from now on."""
    for layer in dropout_layers(module):
        layer.limit_stores(stores)


def dropout_layers(module: nn.Module) -> list[Dropout]:
    """Return our dropout layers, in the module's own order."""
    return [layer for layer in module.modules() if isinstance(layer, Dropout)]
