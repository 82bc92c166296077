"""The compiled operation against PyTorch's own, one after another."""

import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedshelf.common.native import compiler
from fedshelf.common.native.conv_pool import SOURCE, ConvPool, PoolGeometry
from fedshelf.common.native.fuse import fuse

GEOMETRIES = [
    PoolGeometry(3, 6, 5, 0, 32, relu=True),
    PoolGeometry(6, 16, 5, 0, 14, relu=True),  # five pooled pixels a row
    PoolGeometry(16, 33, 3, 1, 8, relu=False),  # the last group of channels is nearly empty
    PoolGeometry(2, 40, 3, 2, 7, relu=True),
    PoolGeometry(1, 1, 1, 0, 5, relu=False),  # the last row and column are not pooled
    PoolGeometry(4, 9, 2, 1, 6, relu=True),
]


def layers(geometry: PoolGeometry, *, bias: bool = True, relu_first: bool = False) -> nn.Sequential:
    shape = (geometry.inputs, geometry.outputs, geometry.kernel)
    tail: list[nn.Module] = [nn.MaxPool2d(2), *([nn.ReLU()] if geometry.relu else [])]
    return nn.Sequential(
        nn.Conv2d(*shape, padding=geometry.padding, bias=bias),
        *(reversed(tail) if relu_first else tail),
    )


def images(geometry: PoolGeometry, batch: int = 3) -> Tensor:
    return torch.randn(batch, geometry.inputs, geometry.side, geometry.side)


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm().clamp(min=1e-12))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("bias", "relu_first"), [(True, False), (True, True), (False, False)])
def test_results_and_gradients_are_those_of_the_layers(
    geometry: PoolGeometry, bias: bool, relu_first: bool
) -> None:
    plain = layers(geometry, bias=bias, relu_first=relu_first)
    fused = fuse(plain, images(geometry, 1))
    assert isinstance(fused, nn.Sequential)
    assert [type(layer) for layer in fused] == [ConvPool]
    pixels = images(geometry)
    mine = pixels.clone().requires_grad_()
    torchs = pixels.clone().requires_grad_()
    got = fused(mine)
    expected = plain(torchs)
    assert relative(got.detach(), expected.detach()) < 1e-6
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(got, [mine, *plain.parameters()], upstream)
    wanted = torch.autograd.grad(expected, [torchs, *plain.parameters()], upstream)
    assert all(relative(a, b) < 1e-5 for a, b in zip(gradients, wanted, strict=True))


def test_a_gradient_by_hand() -> None:
    """One 2x2 image through a 1x1 kernel of weight 2: the gradient goes to the largest pixel
    alone.
    """
    fused = fuse(
        layers(PoolGeometry(1, 1, 1, 0, 2, relu=True), bias=False), torch.zeros(1, 1, 2, 2)
    )
    weight = next(fused.parameters())
    with torch.no_grad():
        weight.fill_(2)
    pixels = torch.tensor([[[[1.0, 3.0], [2.0, 3.0]]]], requires_grad=True)
    out = fused(pixels)
    assert out.item() == 6
    by_pixel, by_weight = torch.autograd.grad(out, [pixels, weight], torch.full((1, 1, 1, 1), 10.0))
    assert by_pixel.tolist() == [[[[0, 20], [0, 0]]]]  # the first of two equal ones
    assert by_weight.item() == 30


def test_a_closed_rectifier_passes_nothing_on() -> None:
    fused = fuse(layers(PoolGeometry(1, 1, 1, 0, 2, relu=True)), torch.zeros(1, 1, 2, 2))
    with torch.no_grad():
        for parameter in fused.parameters():
            parameter.fill_(-1)
    out = fused(torch.ones(1, 1, 2, 2))
    assert out.item() == 0
    assert [g.item() for g in torch.autograd.grad(out.sum(), list(fused.parameters()))] == [0, 0]


@pytest.mark.parametrize("relu", [True, False])
def test_what_is_not_a_number_stays_so(relu: bool) -> None:
    geometry = PoolGeometry(1, 1, 3, 1, 4, relu=relu)
    fused = fuse(layers(geometry), images(geometry, 1))
    assert fused(torch.full((1, 1, 4, 4), float("nan"))).isnan().all()


def test_several_layers_in_a_row_and_the_rest_untouched() -> None:
    plain = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4),
        nn.ReLU(), nn.Conv2d(4, 8, 3), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    fused = fuse(plain, torch.zeros(2, 3, 14, 14))
    assert all(torch.equal(tensor, before[name]) for name, tensor in plain.state_dict().items())
    assert isinstance(fused, nn.Sequential)
    assert all(layer.training for layer in fused.modules())
    kinds = [
        nn.Conv2d,
        nn.ReLU,
        ConvPool,
        nn.BatchNorm2d,
        nn.ReLU,
        nn.Conv2d,
        nn.MaxPool2d,
        nn.Flatten,
        nn.Linear,
    ]
    assert [type(layer) for layer in fused] == kinds
    assert [id(p) for p in fused.parameters()] == [id(p) for p in plain.parameters()]


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(2, 2, 3, stride=2),
        nn.Conv2d(2, 2, 3, dilation=2),
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(2, 2, (3, 5)),
        nn.Conv2d(2, 2, 3, padding=(1, 0)),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 2, 3).requires_grad_(requires_grad=False),
    ],
    ids=str,
)
def test_other_convolutions_are_left_alone(convolution: nn.Conv2d) -> None:
    plain = nn.Sequential(convolution, nn.MaxPool2d(2))
    assert list(fuse(plain, torch.zeros(1, 2, 12, 12)).children()) == list(plain)


@pytest.mark.parametrize(
    "pooling",
    [
        nn.MaxPool2d(3),
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
    ],
)
def test_other_poolings_are_left_alone(pooling: nn.MaxPool2d) -> None:
    plain = nn.Sequential(nn.Conv2d(2, 2, 3), pooling)
    assert list(fuse(plain, torch.zeros(1, 2, 12, 12)).children()) == list(plain)


def test_images_that_are_not_square_are_left_alone() -> None:
    plain = nn.Sequential(nn.Conv2d(2, 2, 3), nn.MaxPool2d(2))
    assert list(fuse(plain, torch.zeros(1, 2, 12, 10)).children()) == list(plain)


@pytest.mark.parametrize(("side", "kernel"), [(4, 1), (4, 3), (6, 1), (6, 3)])
def test_the_last_pixel_counts(side: int, kernel: int) -> None:
    """The memory of these images ends with the last pixel that the last pooled one sees."""
    geometry = PoolGeometry(1, 2, kernel, 0, side, relu=False)
    plain = layers(geometry)
    pixels = images(geometry, 1)
    assert relative(fuse(plain, pixels)(pixels).detach(), plain(pixels).detach()) < 1e-6


CONSTANTS = {"IC": 1, "OC": 1, "K": 1, "PAD": 0, "SIDE": 2, "RELU": 0}


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no memory of which compiler there is and of what failed."""
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path))
    monkeypatch.setattr(compiler, "_failures", [])
    compiler._compiler.cache_clear()
    return tmp_path / "native"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/nowhere/cc", []),
        (
            "false",
            ["false failed with exit code 1. PyTorch's own, slower operations are used."],
        ),
        ("cc -D__STDC_HOSTED__=0 -include /nowhere/x.h", ["failed with exit code 1, and said:"]),
    ],
)
def test_without_a_working_compiler_there_is_no_library(
    fresh: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    command: str,
    words: list[str],
) -> None:
    """Of three libraries that are wanted; that is said once, in words, without the command line."""
    monkeypatch.setenv("CC", command)
    for relu in (0, 1, 0):
        assert compiler.load_library(SOURCE, CONSTANTS | {"RELU": relu}) is None
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(words)
    assert all(expected in message for expected, message in zip(words, said, strict=True))
    assert "-march" not in caplog.text
    assert not list(fresh.glob("*.so"))
    compiler._compiler.cache_clear()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_folder_that_others_can_write_to_is_refused(
    fresh: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    fresh.mkdir()
    fresh.chmod(mode)
    assert compiler.load_library(SOURCE, CONSTANTS) is None
    assert (
        f"{fresh} can be written by others (mode {mode:03o}, expected no more than" in caplog.text
    )
    assert list(fresh.iterdir()) == []


def test_a_library_is_compiled_once_per_constants(fresh: Path) -> None:
    for constants in (CONSTANTS, CONSTANTS, CONSTANTS | {"RELU": 1}):
        assert compiler.load_library(SOURCE, constants) is not None
    times = {path: path.stat().st_mtime_ns for path in fresh.iterdir()}
    assert len(times) == 2
    assert compiler.load_library(SOURCE, CONSTANTS) is not None
    assert {path: path.stat().st_mtime_ns for path in fresh.iterdir()} == times


@pytest.fixture
def compiled(fresh: Path) -> Path:
    """A library in the cache that this process has not loaded: a loaded one is not looked at
    again.
    """
    process = multiprocessing.get_context("fork").Process(
        target=compiler.load_library, args=(SOURCE, CONSTANTS)
    )
    process.start()
    process.join()
    (path,) = fresh.iterdir()
    return path


def test_a_damaged_library_is_compiled_again(compiled: Path) -> None:
    whole = compiled.read_bytes()
    compiled.write_bytes(b"not a library")
    assert compiler.load_library(SOURCE, CONSTANTS) is not None
    assert compiled.stat().st_size == len(whole)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_what_somebody_else_put_there_is_not_loaded(compiled: Path) -> None:
    os.chown(compiled, 12345, 12345)
    assert compiler.load_library(SOURCE, CONSTANTS) is not None
    assert compiled.stat().st_uid == 0


def test_a_file_that_others_can_write_to_is_not_loaded(compiled: Path) -> None:
    """It is compiled anew, as a file that nobody else can write to."""
    compiled.write_bytes(b"what somebody else would have run")
    compiled.chmod(0o666)
    assert compiler.load_library(SOURCE, CONSTANTS) is not None
    assert compiled.stat().st_mode & 0o777 == 0o600
    assert compiled.read_bytes().startswith(b"\x7fELF")


NAN = float("nan")


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("place", range(4))
def test_a_nan_anywhere_in_a_window_stays_one(place: int, relu: bool) -> None:
    """Pixels 1 to 4 with one of them in turn not a number: what is pooled is none, and that pixel
    gets the gradient.
    """
    geometry = PoolGeometry(1, 1, 1, 0, 2, relu)
    plain = layers(geometry, bias=False)
    pixels = torch.tensor([1.0, 2.0, 3.0, 4.0])
    pixels[place] = NAN
    fused = fuse(plain, images(geometry, 1))
    mine = pixels.view(1, 1, 2, 2).clone().requires_grad_()
    torchs = mine.detach().clone().requires_grad_()
    with torch.no_grad():
        plain[0].weight.fill_(1)
    got = fused(mine)
    expected = plain(torchs)
    assert got.isnan().all()
    assert expected.isnan().all()
    (gradient,), (wanted,) = (
        torch.autograd.grad(got.sum(), [mine]),
        torch.autograd.grad(expected.sum(), [torchs]),
    )
    assert gradient.tolist() == wanted.tolist()
    assert gradient.flatten().tolist() == [float(number == place) for number in range(4)]
