"""Memory limits: the number of stores that fit on a device at once."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from fedshelf.common.training.fit import Network
from fedshelf.simulations.engines.batched.network import StackedNetwork

# of the free memory of a CUDA device: the allocator's blocks do not fit without gaps
USABLE_SHARE = 0.8
# bytes of activations and gradients on a CPU, where a larger group is no faster
CPU_BUDGET_BYTES = 1 << 30
# float32 vectors per store: weights, gradient, its pieces, two moments, the result, a strategy's
# two
VECTORS_PER_STORE = 8
# of the free memory of a CUDA device: updates that take more are kept on the host
MAX_SHARE_FOR_UPDATES = 0.3
SMALL_UPDATES_BYTES = 1 << 30  # bytes of updates up to which the free memory is not checked


def stores_that_fit(network: Network, batch_size: int, *, on_features: bool = False) -> int:
    """Return how many stores can step together.

    Args:
        network: the network of one store.
        batch_size: images in a store's batch.
        on_features: whether images come as features.

    Returns:
        Number of stores, at least 1.
    """

    def run_one_step(stores: int) -> None:
        _run_one_step(network, batch_size, stores, on_features=on_features)

    if network.device.type == "cuda":
        try:
            # cuBLAS and cuDNN take workspaces at first use, which belong to no store
            run_one_step(1)
            bytes_of_one, bytes_of_two = (
                _peak_bytes(network.device, partial(run_one_step, stores)) for stores in (1, 2)
            )
        except torch.OutOfMemoryError:
            return 1
        bytes_per_store = bytes_of_two - bytes_of_one
        shared_bytes = bytes_of_one - bytes_per_store
        usable_share = USABLE_SHARE - MAX_SHARE_FOR_UPDATES
        budget_bytes = usable_share * _free_bytes(network.device) - shared_bytes
    else:
        bytes_per_store = _saved_bytes(partial(run_one_step, 1))
        budget_bytes = float(CPU_BUDGET_BYTES)
    bytes_per_store += VECTORS_PER_STORE * network.vector.numel() * network.vector.element_size()
    return max(1, int(budget_bytes // bytes_per_store))


def device_of_updates(network: Network, stores: int) -> torch.device:
    """Return the device that keeps updates until aggregation: the network's if there is room.

    Args:
        network: the network of one store.
        stores: number of updates.
    """
    size = stores * network.vector.numel() * network.vector.element_size()
    if (
        network.device.type == "cuda"
        and size > SMALL_UPDATES_BYTES
        and size > MAX_SHARE_FOR_UPDATES * _free_bytes(network.device)
    ):
        return torch.device("cpu")
    return network.device


def _free_bytes(device: torch.device) -> int:
    """Return the free bytes of the device, with those that torch's allocator holds but does not
    use.
    """
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def _peak_bytes(device: torch.device, step: Callable[[], None]) -> int:
    """Return the bytes that a CUDA device needs for one step beyond those in use."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device) - before


def _saved_bytes(step: Callable[[], None]) -> int:
    """Return the bytes that one store's forward pass saves for the backward pass, and as many again
    for gradients.
    """
    sizes: dict[int, int] = {}

    def note_size(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note_size, lambda tensor: tensor):
        step()
    return 2 * sum(sizes.values())


def _run_one_step(network: Network, batch_size: int, stores: int, *, on_features: bool) -> None:
    stacked = StackedNetwork(network, stores, on_features=on_features)
    spec = network.spec
    stacked.address([0] * stores)
    shape: tuple[int, ...] = (spec.channels, spec.image_size, spec.image_size)
    if on_features:
        assert network.frozen_part is not None, "features are made by the frozen part"
        shape = tuple(network.frozen_part.shape)
    images = torch.zeros(stores * batch_size, *shape, device=network.device)
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    stacked.gradient(stacked.logits(images).float().square().sum())
