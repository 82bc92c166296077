"""Mixed precision computes in bfloat16, and weights, gradients and updates stay float32."""

import pytest
import torch

from fedshelf.common.config import TrainConfig
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.system.device import has_bfloat16
from fedshelf.common.training.fit import Network
from fedshelf.common.training.loss import BatchGradient

CPU = torch.device("cpu")
has_hardware = has_bfloat16(CPU)


def gradient_of(name: str, precision: str, batch: int, size: int) -> tuple[float, torch.Tensor]:
    """The loss and the gradient of a batch of random pixels, [T]."""
    spec = ModelSpec(name, ("a", "b"), size, 3, (0.5,) * 3, (0.25,) * 3)
    network = Network(spec, CPU, seed=3)
    pixels = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(4))
    config = TrainConfig.model_validate({"precision": precision})
    vector = network.vector.clone()
    loss, gradient = BatchGradient(network, config)(pixels, torch.arange(batch) % 2)
    assert network.vector.dtype == gradient.dtype == loss.dtype == torch.float32
    assert network.vector.shape == vector.shape
    return float(loss), gradient.clone()


@pytest.mark.parametrize(
    ("name", "batch", "size"),
    # fused layers; batch norm; the last: channels-last order (128 x 32 x 32 pixels)
    [("cnn", 8, 64), ("resnet18", 16, 64), ("niid-cnn", 128, 32)],
)
def test_mixed_is_float32_up_to_the_rounding_of_bfloat16(name: str, batch: int, size: int) -> None:
    loss, gradient = gradient_of(name, "float32", batch, size)
    mixed_loss, mixed = gradient_of(name, "mixed", batch, size)
    # bfloat16 has 8 bits of mantissa: 0.4% a product
    assert mixed_loss == pytest.approx(loss, rel=0.03)
    assert torch.cosine_similarity(mixed, gradient, dim=0) > 0.9
    assert torch.equal(mixed, gradient) is not has_hardware


def test_an_unsettled_choice_is_float32() -> None:
    assert torch.equal(
        gradient_of("niid-cnn", "auto", 4, 32)[1], gradient_of("niid-cnn", "float32", 4, 32)[1]
    )
