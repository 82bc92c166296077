"""torchvision's models under our roof: head, norms, freezing, grey images, weights from files."""

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from fedshelf.common import models
from fedshelf.common.config import ModelConfig, resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models import torchvision_zoo
from fedshelf.common.models.dropout import Dropout
from fedshelf.common.models.head import blocks, ends_in_head, head_name, set_training
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.models.weights import LoadedWeights


def described(
    name: str, *, classes: int = 4, size: int = 0, channels: int = 3, **settings: object
) -> ModelSpec:
    config = ModelConfig.model_validate({"name": name, **settings})
    labels = tuple(f"class {index}" for index in range(classes))
    return models.specify(config, labels, image_size=size, native_size=None, channels=channels)


def from_file(path: Path) -> LoadedWeights | None:
    return models.initial_weights(resolve({"model.weights": str(path)}).model)


def published(name: str) -> LoadedWeights | None:
    settings = {"model.name": name, "model.weights": "imagenet"}
    return models.initial_weights(resolve(settings).model)


def torchvision_state(name: str, seed: int = 5) -> dict[str, Tensor]:
    """Return a state dict of 1000 classes, as torchvision would publish it for `name`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {"init_weights": True} if name == "googlenet" else {}
        state = torchvision.models.get_model(name, weights=None, **options).state_dict()
    return {key: tensor.clone() for key, tensor in state.items()}


@pytest.fixture(scope="module")
def resnet18_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(torchvision_state("resnet18"), path)
    return path


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc"),
        ("vgg16", "classifier.6"),
        ("mobilenet_v3_small", "classifier.3"),
        ("efficientnet_b0", "classifier.1"),
        ("squeezenet1_1", "classifier.1"),
        ("densenet121", "classifier"),
        ("inception_v3", "fc"),
        ("googlenet", "fc"),
        ("vit_b_16", "heads.head"),
        ("swin_t", "head"),
        ("convnext_tiny", "classifier.2"),
        ("shufflenet_v2_x0_5", "fc"),
    ],
)
def test_the_head_has_one_output_a_class(name: str, head: str) -> None:
    spec = described(name)
    with torch.device("meta"):  # shapes without the minutes and gigabytes of drawing 138M weights
        module = torchvision_zoo.find(name).build(len(spec.classes), spec.image_size, 3)
    assert head_name(module) == head
    assert module.get_submodule(head).weight.shape[0] == 4
    assert ends_in_head(module) == (name != "squeezenet1_1")  # which has a ReLU behind it


@pytest.mark.parametrize(
    ("name", "size"),
    [(ours, 32) for ours in models.OURS] + [("resnet18", 32), ("squeezenet1_1", 32)],
)
def test_no_softmax_sees_what_all_rows_of_a_last_layer_have_in_common(name: str, size: int) -> None:
    module = models.build(described(name, size=size)).eval()
    pixels = torch.randn(6, 3, size, size, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        before = module(pixels).softmax(dim=1)
        head = module.get_submodule(head_name(module))
        head.weight.add_(
            torch.linspace(-0.2, 0.2, head.weight[0].numel()).view(head.weight[0].shape)
        )
        head.bias.sub_(0.3)
        moved = float((module(pixels).softmax(dim=1) - before).abs().max())
    assert (moved < 1e-5) == ends_in_head(module), moved


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 32),
        ("mobilenet_v3_small", 32),
        ("squeezenet1_1", 32),
        ("inception_v3", 75),
        ("densenet121", 32),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_one_plain_tensor_comes_out_in_training(name: str, size: int, channels: int) -> None:
    module = models.build(described(name, size=size, channels=channels))
    set_training(module, mode=True)
    assert module(torch.rand(2, channels, size, size)).shape == (2, 4)


def test_a_grey_image_counts_as_rgb_of_three_equal_channels() -> None:
    grey = models.build(described("squeezenet1_1", size=32, channels=1)).eval()
    colour = models.build(described("squeezenet1_1", size=32)).eval()
    pixels = torch.rand(2, 1, 32, 32)
    assert torch.equal(grey(pixels), colour(pixels.repeat(1, 3, 1, 1)))


def test_same_seed_same_weights_and_the_global_generator_stays() -> None:
    before = torch.get_rng_state()
    first, again = (
        models.build(described("mobilenet_v3_small"), seed=3).state_dict() for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_group_norm_leaves_no_batch_norm_and_no_statistics(name: str) -> None:
    module = models.build(described(name, norm="group", size=32))
    assert not [
        layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    ]
    assert not list(module.buffers())
    set_training(module, mode=True)
    assert module(torch.rand(1, 3, 32, 32)).shape == (1, 4)


class TestFrozen:
    def test_only_the_head_trains(self) -> None:
        module = models.build(described("resnet18", freeze="backbone"))
        assert [name for name, p in module.named_parameters() if p.requires_grad] == [
            "fc.weight",
            "fc.bias",
        ]

    def test_statistics_of_the_backbone_do_not_move(self) -> None:
        module = models.build(described("resnet18", freeze="backbone", size=32))
        before = {name: buffer.clone() for name, buffer in module.named_buffers()}
        set_training(module, mode=True)
        module(torch.rand(4, 3, 32, 32))
        assert all(torch.equal(before[name], buffer) for name, buffer in module.named_buffers())
        assert module.fc.training

    def test_statistics_move_when_nothing_is_frozen(self) -> None:
        module = models.build(described("resnet18", size=32))
        set_training(module, mode=True)
        module(torch.rand(4, 3, 32, 32))
        assert module.bn1.num_batches_tracked == 1

    @pytest.mark.parametrize(
        ("name", "count", "last"),
        [
            ("resnet18", 9, ["layer4.1"]),
            ("vgg16", 15, ["classifier.3"]),
            ("mobilenet_v3_small", 14, ["classifier.0"]),
            ("densenet121", 8, ["features.denseblock4", "features.norm5"]),
            ("vit_b_16", 13, ["encoder.layers.encoder_layer_11", "encoder.ln"]),
            ("convnext_tiny", 22, ["features.7.2", "classifier.0"]),
            ("googlenet", 12, ["inception5b"]),
        ],
    )
    def test_blocks_are_those_of_the_papers(self, name: str, count: int, last: list[str]) -> None:
        with torch.device("meta"):
            module = torchvision_zoo.find(name).build(4, described(name).image_size, 3)
        names = {layer: path for path, layer in module.named_modules()}
        found = blocks(module)
        assert len(found) == count
        assert [names[layer] for layer in found[-1]] == last

    def test_the_last_blocks_train_and_keep_statistics(self) -> None:
        module = models.build(described("resnet18", freeze="last:2", size=32))
        trained = {name for name, p in module.named_parameters() if p.requires_grad}
        assert trained == {
            name for name, _ in module.named_parameters() if name.startswith(("layer4.", "fc."))
        }
        before = {name: buffer.clone() for name, buffer in module.named_buffers()}
        set_training(module, mode=True)
        module(torch.rand(4, 3, 32, 32))
        moved = {
            name for name, buffer in module.named_buffers() if not torch.equal(before[name], buffer)
        }
        assert moved == {name for name in before if name.startswith("layer4.")}

    def test_dropout_is_on_between_layers_that_train_and_off_before_them(self) -> None:
        with torch.device("meta"):
            module = models.build(described("vgg11", freeze="last:1", size=32))
        set_training(module, mode=True)
        assert [layer.training for layer in module.classifier if isinstance(layer, Dropout)] == [
            False,
            True,
        ]

    def test_more_blocks_than_there_are_is_one_sentence(self) -> None:
        with pytest.raises(ConfigError, match="got last:4, but the model has 3 blocks"):
            models.build(described("cnn", freeze="last:4"))

    @pytest.mark.parametrize("nonsense", ["true", True, "last", "last:0", "last:x", "head", ""])
    def test_nonsense_is_told_what_is_allowed(self, nonsense: object) -> None:
        with pytest.raises(ConfigError, match=r"model.freeze got .*none, backbone.* last:K"):
            resolve({"model.freeze": nonsense})

    def test_the_head_of_squeezenet_is_a_convolution(self) -> None:
        module = models.build(described("squeezenet1_1", freeze="backbone"))
        trainable = [name for name, p in module.named_parameters() if p.requires_grad]
        assert trainable == ["classifier.1.weight", "classifier.1.bias"]


class TestWeightsFromAFile:
    def test_everything_but_the_head_is_loaded(self, resnet18_file: Path) -> None:
        fresh = models.build(described("resnet18"), seed=1).state_dict()
        loaded = models.build(
            described("resnet18"), weights=from_file(resnet18_file), seed=1
        ).state_dict()
        published = torchvision_state("resnet18")
        assert all(
            torch.equal(loaded[key], published[key]) for key in loaded if not key.startswith("fc.")
        )
        assert torch.equal(loaded["fc.weight"], fresh["fc.weight"])

    def test_group_norm_and_freezing_take_them_too(self, resnet18_file: Path) -> None:
        module = models.build(
            described("resnet18", norm="group", freeze="backbone"), weights=from_file(resnet18_file)
        )
        assert torch.equal(module.conv1.weight, torchvision_state("resnet18")["conv1.weight"])
        assert not module.conv1.weight.requires_grad

    def test_auxiliary_classifiers_in_the_file_are_left_out(self, tmp_path: Path) -> None:
        save_file(torchvision_state("googlenet"), tmp_path / "googlenet.safetensors")
        module = models.build(
            described("googlenet"), weights=from_file(tmp_path / "googlenet.safetensors")
        )
        assert torch.equal(
            module.conv1.conv.weight, torchvision_state("googlenet")["conv1.conv.weight"]
        )

    @pytest.mark.parametrize("name", models.names())
    def test_our_own_model_comes_back_whole(self, name: str, tmp_path: Path) -> None:
        spec = described(name, size=32)
        trained = models.build(spec, seed=1).state_dict()
        save_file(trained, tmp_path / "model.safetensors")
        back = models.build(
            spec, weights=from_file(tmp_path / "model.safetensors"), seed=2
        ).state_dict()
        assert all(torch.equal(trained[key], back[key]) for key in trained)

    def test_another_number_of_classes_gets_a_fresh_head(self, tmp_path: Path) -> None:
        trained = models.build(described("cnn", classes=4), seed=1).state_dict()
        save_file(trained, tmp_path / "model.safetensors")
        spec = described("cnn", classes=7)
        back = models.build(
            spec, weights=from_file(tmp_path / "model.safetensors"), seed=2
        ).state_dict()
        fresh = models.build(spec, seed=2).state_dict()
        *backbone, weight, bias = list(back)
        assert all(torch.equal(back[name], trained[name]) for name in backbone)
        assert all(torch.equal(back[name], fresh[name]) for name in (weight, bias))

    def test_as_many_classes_of_other_names_get_a_fresh_head(self, tmp_path: Path) -> None:
        spec = described("cnn", classes=4)
        others = replace(spec, classes=("hat", "shirt", "shoe", "sock"))
        save_file(
            models.build(others, seed=1).state_dict(),
            tmp_path / "known.safetensors",
            {"spec": others.to_json()},
        )
        known = from_file(tmp_path / "known.safetensors")
        trained, fresh = (models.build(spec, seed=seed).state_dict() for seed in (1, 2))
        back, again = (models.build(s, weights=known, seed=2).state_dict() for s in (spec, others))
        *backbone, weight, bias = list(back)
        assert all(torch.equal(back[name], trained[name]) for name in backbone)
        assert all(torch.equal(back[name], fresh[name]) for name in (weight, bias))
        assert all(torch.equal(again[name], trained[name]) for name in again)

    def test_a_torchvision_file_is_converted_by_the_command_in_the_error(
        self, tmp_path: Path
    ) -> None:
        """Published weights are pickles: never opened here; what the sentence tells to do makes a
        file that loads.
        """
        published = torchvision_state("densenet121")
        old_names = {
            re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", key): t
            for key, t in published.items()
        }
        torch.save(old_names, tmp_path / "it's published.pth")
        spec = described("densenet121", size=32)
        with pytest.raises(
            ConfigError, match=r"a pickle, .* never opened here. Convert it once"
        ) as refused:
            models.build(spec, weights=from_file(tmp_path / "it's published.pth"))
        command = str(refused.value).partition("published.safetensors: ")[2]
        subprocess.run(shlex.split(command.replace("python", sys.executable, 1)), check=True)
        loaded = models.build(
            spec, weights=from_file(tmp_path / "it's published.safetensors")
        ).state_dict()
        assert all(
            torch.equal(loaded[key], published[key])
            for key in loaded
            if not key.startswith("classifier.")
        )

    @pytest.mark.parametrize("name", ["resnet34", "resnet50"])
    def test_another_network_is_refused_with_counts(self, name: str, resnet18_file: Path) -> None:
        with pytest.raises(
            DataError,
            match=r"resnet18.safetensors fit \d+ of the \d+ tensors of the model's backbone",
        ):
            models.build(described(name), weights=from_file(resnet18_file))

    def test_a_larger_relative_is_refused_though_all_names_fit(self, tmp_path: Path) -> None:
        save_file(torchvision_state("resnet34"), tmp_path / "resnet34.safetensors")
        with pytest.raises(
            DataError, match=r"fit 100 of the 100 tensors .* and hold \d+ that it lacks"
        ):
            models.build(
                described("resnet18"), weights=from_file(tmp_path / "resnet34.safetensors")
            )

    def test_a_missing_file_and_a_file_of_another_kind_are_one_sentence(
        self, tmp_path: Path
    ) -> None:
        pickled = tmp_path / "pickled.safetensors"
        torch.save({"fc.weight": torch.zeros(2)}, pickled)
        for path in (tmp_path / "missing.safetensors", pickled):
            with pytest.raises(DataError, match=f"Cannot read model.weights={path}"):
                models.build(described("cnn"), weights=from_file(path))


def test_weights_that_cannot_be_fetched_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(DataError, match=r"pass model.weights=squeezenet1_1.safetensors"):
        published("squeezenet1_1")


@pytest.mark.parametrize("place", ["weights", "torch/hub/checkpoints"])
def test_a_file_in_a_cache_whose_name_has_another_hash_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT.url.rpartition("/")[2]
    (tmp_path / place).mkdir(parents=True)
    torch.save(torchvision_state("squeezenet1_1"), tmp_path / place / file)
    with pytest.raises(DataError, match=r"squeezenet1_1-b8a52dc0.pth is damaged: .* delete it"):
        published("squeezenet1_1")
