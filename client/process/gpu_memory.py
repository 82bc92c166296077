"""Limit on the GPU memory of a store's worker."""

import torch


def limit_gpu_memory(device: torch.device, share: float) -> None:
    """Limit this process to `share` (0 to 1) of the memory of a CUDA device; other devices have no
    such limit.

    Beyond it an allocation raises torch.OutOfMemoryError. Call it before anything is allocated on
    the device.
    """
    if device.type == "cuda" and share < 1:
        torch.cuda.set_per_process_memory_fraction(share, device.index)
