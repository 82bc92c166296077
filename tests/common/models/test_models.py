"""Every network of ours: its size, its shapes, its gradients."""

import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from fedshelf.common import models
from fedshelf.common.models.head import head_name, set_training
from tests.helpers.model_specs import described


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "size", "channels", "parameters"),
    [
        # 3*6*25+6 + 6*16*25+16 + 400*120+120 + 120*84+84 + 84*10+10, as in NIID-Bench
        ("niid-cnn", 32, 3, 62_006),
        # 1*32*25+32 + 32*64*25+64 + 7*7*64*512+512 + 512*10+10, as the paper states
        ("mcmahan-cnn", 28, 1, 1_663_370),
        # 3*32*25+32 + 32*64*25+64 + 8*8*64*512+512 + 512*10+10
        ("mcmahan-cnn", 32, 3, 2_156_490),
        # convolutions 896 + 18496 + 73856 + 147584 + 295168 + 590080, dense 2097664 + 262656 +
        # 5130, as NVFLARE states
        ("moderate-cnn", 32, 3, 3_491_530),
        # 3*16*9 + 16*32*9 + 32*64*9, norms 2*(16 + 32 + 64), head 4*64*10+10
        ("cnn", 32, 3, 26_266),
        # 1*32*9+32 + 32*64*9+64 + 64*128*9+128 + 3*3*128*128+128 + 128*10+10
        ("fashion-cnn", 28, 1, 241_546),
        # 3*32*9+32 + 32*64*9+64 + 14*14*64*128+128 + 128*10+10, as pfl-research states
        ("pfl-cnn", 32, 3, 1_626_442),
    ],
)
def test_has_the_published_number_of_parameters(
    name: str, size: int, channels: int, parameters: int
) -> None:
    assert count(models.build(described(name, size=size, channels=channels))) == parameters


@pytest.mark.parametrize("name", models.names())
class TestEvery:
    @pytest.mark.parametrize(
        ("classes", "size", "channels"), [(2, 28, 1), (10, 32, 3), (37, 65, 3)]
    )
    def test_maps_images_to_one_logit_a_class(
        self, name: str, classes: int, size: int, channels: int
    ) -> None:
        module = models.build(described(name, classes=classes, size=size, channels=channels))
        assert module(torch.zeros(3, channels, size, size)).shape == (3, classes)

    def test_takes_its_least_size_and_one_image(self, name: str) -> None:
        least = models.OURS[name][1]
        module = models.build(described(name, size=least))
        set_training(module, mode=True)
        assert module(torch.zeros(1, 3, least, least)).shape == (1, 10)

    def test_has_the_same_seeded_start_and_leaves_the_global_generator_alone(
        self, name: str
    ) -> None:
        spec = described(name)
        before = torch.get_rng_state()
        first = models.build(spec, seed=7).state_dict()
        torch.manual_seed(123)
        again = models.build(spec, seed=7).state_dict()
        other = models.build(spec, seed=8).state_dict()
        torch.set_rng_state(before)
        models.build(spec, seed=9)
        assert torch.equal(torch.get_rng_state(), before)
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert not all(torch.equal(first[key], other[key]) for key in first)

    def test_every_parameter_gets_a_gradient_and_a_step_lowers_the_loss(self, name: str) -> None:
        module = models.build(described(name), seed=1)
        pixels = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        targets = torch.arange(8)
        module.eval()  # dropout would make the two losses differ by chance
        before = functional.cross_entropy(module(pixels), targets)
        before.backward()
        for parameter in module.parameters():
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0
        torch.optim.SGD(module.parameters(), lr=0.01).step()
        assert functional.cross_entropy(module(pixels), targets) < before

    def test_keeps_no_buffers(self, name: str) -> None:
        """Nothing but parameters is averaged over stores."""
        assert not list(models.build(described(name)).buffers())

    def test_drops_features_before_the_head_only_in_training(self, name: str) -> None:
        plain = models.build(described(name))
        dropping = models.build(described(name, dropout=0.5))
        assert plain.state_dict().keys() == dropping.state_dict().keys()
        pixels = torch.randn(4, 3, 32, 32)
        plain.eval(), dropping.eval()
        assert torch.equal(plain(pixels), dropping(pixels))
        head = dropping.get_submodule(head_name(dropping))
        seen: list[torch.Tensor] = []
        head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        set_training(dropping, mode=True)
        ones = torch.ones(1, head.in_features)
        head(ones)
        assert set(seen[0].unique().tolist()) == {0.0, 2.0}

    def test_freezing_leaves_only_the_head(self, name: str) -> None:
        module = models.build(described(name, freeze="backbone"))
        last = list(module.state_dict())[-2:]
        assert [
            name for name, parameter in module.named_parameters() if parameter.requires_grad
        ] == last


def test_the_names_are_known_without_torch() -> None:
    code = (
        "import sys; from fedshelf.common import models; models.names(); sys.exit('torch' in"
        " sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cnn_swaps_its_group_norms_for_batch_norms() -> None:
    module = models.build(described("cnn", norm="batch"))
    kinds = [type(layer) for layer in module.modules()]
    assert torch.nn.BatchNorm2d in kinds
    assert torch.nn.GroupNorm not in kinds
