"""The choice of the training device, and of its numerical precision."""

import torch

from fedshelf.common.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """Return the device for `name`; "auto" is CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: there is no such device
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"Device got {name!r}; allowed: auto, cpu, mps, cuda or cuda:N."
        ) from None
    present = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": (device.index or 0) < torch.cuda.device_count(),
    }
    if not present.get(device.type, False):
        raise ConfigError(
            f"Device {name!r} is not on this machine (CUDA devices: {torch.cuda.device_count()});"
            " use --device auto."
        )
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 in hardware, so that it may be the faster way.

    CUDA devices count as such, and CPUs with AVX512-BF16 or AMX. Other CPUs emulate it slowly.
    """
    if device.type != "cpu":
        return device.type == "cuda"
    has: dict[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # older PyTorch has no such list
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def compute_exactly(device: torch.device) -> None:
    """Let CUDA compute float32 in float32 and in one order, for this whole process.

    Other devices do so anyway. TensorFloat-32, which PyTorch allows in convolutions, has 10 bits of
    mantissa. Some of cuDNN's algorithms add in the order in which threads happen to finish.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
