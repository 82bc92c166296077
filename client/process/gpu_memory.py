"""How much of a GPU's memory a store's worker may use."""

import torch


def limit_gpu_memory(device: torch.device, share: float) -> None:
    """Let this process use at most `share` (0 to 1) of the memory of a CUDA device; other devices have no such limit.

    Beyond it an allocation raises torch.OutOfMemoryError. To be called before anything is allocated there.
    """
    if device.type == "cuda" and share < 1:
        torch.cuda.set_per_process_memory_fraction(share, device.index)
