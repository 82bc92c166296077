"""Memory limits: the number of stores that fit on a device at once."""

import torch
from torch import Tensor

from fedshelf.common.training.fit import Network
from fedshelf.simulations.engines.batched.network import StackedNetwork

# of the free memory of a CUDA device: the allocator's blocks do not fit without gaps
USABLE_SHARE = 0.8
# bytes of activations and gradients on a CPU, where a larger group is no faster
CPU_BUDGET = 1 << 30
# float32 vectors per store: weights, gradient, its pieces, two moments, the result, a strategy's
# two
VECTORS = 8
# of the free memory of a CUDA device: updates that take more are kept on the host
MAX_SHARE_FOR_UPDATES = 0.3
SMALL_UPDATES_BYTES = 1 << 30  # bytes of updates up to which the free memory is not checked


def stores_that_fit(network: Network, width: int) -> int:
    """Return how many stores, at least 1, can step together in batches of `width` images."""
    if network.device.type == "cuda":
        try:
            # cuBLAS and cuDNN take workspaces at first use, which belong to no store
            _probe(network, width, 1)
            one, two = (_peak(network, width, stores) for stores in (1, 2))
        except torch.OutOfMemoryError:
            return 1
        own = two - one
        budget = (USABLE_SHARE - MAX_SHARE_FOR_UPDATES) * _free(network.device) - (one - own)
    else:
        own = _saved(network, width)
        budget = float(CPU_BUDGET)
    own += VECTORS * network.vector.numel() * network.vector.element_size()
    return max(1, int(budget // own))


def home_of_updates(network: Network, stores: int) -> torch.device:
    """Return the device that keeps the updates of `stores` until aggregation: the network's if
    there is room.
    """
    size = stores * network.vector.numel() * network.vector.element_size()
    if (
        network.device.type == "cuda"
        and size > SMALL_UPDATES_BYTES
        and size > MAX_SHARE_FOR_UPDATES * _free(network.device)
    ):
        return torch.device("cpu")
    return network.device


def _free(device: torch.device) -> int:
    """Return the free bytes of the device, with those that torch's allocator holds but does not
    use.
    """
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def _peak(network: Network, width: int, stores: int) -> int:
    """Return the bytes that a CUDA device needs for one step beyond those in use."""
    before = torch.cuda.memory_allocated(network.device)
    torch.cuda.reset_peak_memory_stats(network.device)
    _probe(network, width, stores)
    return torch.cuda.max_memory_allocated(network.device) - before


def _saved(network: Network, width: int) -> int:
    """Return the bytes that one store's forward pass saves for the backward pass, and as many again
    for gradients.
    """
    sizes: dict[int, int] = {}

    def weigh(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
        _probe(network, width, 1)
    return 2 * sum(sizes.values())


def _probe(network: Network, width: int, stores: int) -> None:
    stacked = StackedNetwork(network, stores)
    spec = network.spec
    stacked.address([0] * stores)
    shape = (stores * width, spec.channels, spec.image_size, spec.image_size)
    pixels = torch.zeros(shape, device=network.device).contiguous(memory_format=torch.channels_last)
    stacked.gradient(stacked.logits(pixels).float().square().sum())
