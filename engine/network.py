"""Generator and discriminator. Pictures go in and come out in the working encoding (`color.encode`), (B, C, H, W).

Two generators. `paper` is the architecture of Futschik et al. 2019 as the paper (3.1, 4) uses it. `fast` is ours: the
same idea - most work at a quarter of the resolution, skips that keep detail - at less than a hundredth of the cost.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import NetworkConfig
from .exemplar import Exemplar

Padding = Literal["zeros", "replicate"]


class Generator(nn.Module):
    """(B, C, H, W) to (B, 3, H, W), both in the working encoding. C is 3, or 6 with a guide layer, or 9 with an ST map.

    SIZE_MULTIPLE  must divide H and W; `export` pads inside the model
    halo           how far around a pixel it looks, pixels
    exemplar       the key frame to copy from, where there is an ST map that leads there
    """

    SIZE_MULTIPLE = 4
    halo: int
    exemplar: Exemplar | None

    def paint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What it would paint of its own, and what it paints: one and the same where there is no exemplar."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.paint(x)[1]


def build_generator(config: NetworkConfig) -> Generator:
    """The network of a preset, freshly initialised from torch's random state."""
    generator = {"fast": FastGenerator, "paper": PaperGenerator}[config.preset]
    return generator(config.channels, config.blocks, config.filters)


def _conv(
    inputs: int, outputs: int, size: int, stride: int = 1, *, bias: bool = True, padding_mode: Padding = "zeros"
) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, (size - 1) // 2, bias=bias, padding_mode=padding_mode)


def upsample(x: Tensor, mode: str = "nearest") -> Tensor:
    """To twice the height and width. A resize and a convolution leave no checkerboard (Odena et al. 2016)."""
    return F.interpolate(x, scale_factor=2.0, mode=mode)


class Block(nn.Module):
    """A residual block with batch normalisation (He et al. 2016)."""

    REACH = 8
    """Two convolutions of 3x3 at a quarter of the resolution, pixels."""

    def __init__(self, channels: int, padding_mode: Padding = "zeros"):
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels, 3, bias=False, padding_mode=padding_mode),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.2, inplace=True),
            _conv(channels, channels, 3, bias=False, padding_mode=padding_mode),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class PaperGenerator(Generator):
    """The published generator: 3,267,523 parameters and 1,023 thousand multiply-adds per pixel for three channels."""

    def __init__(self, channels: int = 3, blocks: int = 7, filters: int = 128):
        super().__init__()
        self.halo = 17 + blocks * Block.REACH

        def encode(inputs: int, outputs: int, size: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                _conv(inputs, outputs, size, stride), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True)
            )

        def decode(inputs: int) -> nn.Sequential:
            return nn.Sequential(_conv(inputs, 128, 3, bias=False), nn.BatchNorm2d(128), nn.ReLU(inplace=True))

        self.exemplar = None
        self.at_full = encode(channels, 32, 7, 1)
        self.at_half = encode(32, 64, 3, 2)
        self.at_quarter = encode(64, filters, 3, 2)
        self.trunk = nn.Sequential(*(Block(filters) for _ in range(blocks)))
        self.to_half = decode(filters + filters)
        self.to_full = decode(128 + 64)
        self.head = nn.Sequential(
            _conv(128 + 32 + channels, 64, 7), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
            _conv(64, 64, 3), nn.LeakyReLU(0.2, inplace=True),
            _conv(64, 64, 3), nn.LeakyReLU(0.2, inplace=True),
            _conv(64, 3, 1),
        )  # fmt: skip

    def paint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x * 2 - 1
        full = self.at_full(x)  # (B, 32, H, W)
        half = self.at_half(full)  # (B, 64, H/2, W/2)
        quarter = self.at_quarter(half)  # (B, filters, H/4, W/4)
        y = self.to_half(upsample(torch.cat([self.trunk(quarter), quarter], 1)))  # (B, 128, H/2, W/2)
        y = self.to_full(upsample(torch.cat([y, half], 1)))  # (B, 128, H, W)
        y = torch.tanh(self.head(torch.cat([y, full, x], 1))) * 0.5 + 0.5  # (B, 3, H, W)
        return y, y


SEEN = 8
"""Channels of what `fast` sees at full resolution with an ST map: the frame, the painting, how far the plates differ,
and the confidence. ONNX Runtime has fast convolutions for multiples of eight. With the difference of every channel,
and so ten and two more, it was no better (240 steps: `bust` psnr 22.5, with their mean 22.9; `still_life` 19.3 both).
"""

DOUBTED, BELIEVED = 0.2, 0.4
"""Once it has learnt, `fast` paints of its own where it would mix in less of the exemplar than the first, and copies
where more than the second. The mean of two brush strokes, which costs least in training, is none: on a rendered
sequence (700 steps) copying from 0.1 to 0.3 brought the sliced Wasserstein distance from 87 to 70 and ssim from 0.797
to 0.806, at 0.05 dB of psnr. That copied too much where little can be followed: from 0.3 to 0.5 such a shot had 1.2 dB
more inside its subject after 480 steps, from 0.5 to 0.7 1.9, and less scraps; but what the network paints of its own is
softer at first (distance 64, 66 and 70; another shot 51, 53). This is between. In training it would leave nothing to
learn from."""


class FastGenerator(Generator):
    """Ours: 5 to 6 thousand multiply-adds per pixel, 175 to 202 times fewer than `paper`.

    Full resolution is touched only by one thin layer at the end: the first convolution halves it at once, a trunk at a
    quarter of the resolution decides what is painted where, and two skips bring the detail back. The output is linear,
    not a tanh, so that a painting may hold HDR values. With twice the channels where the halves are summed, and a head
    of 3x3, a frame took a quarter longer; after 240 steps psnr was the same, and the sliced Wasserstein distance a
    little less (`bust` 47 for 52, `still_life` 60 for 63).

    The guide joins at a quarter of the resolution, averaged. It is smooth, so nothing is lost; and where it reached the
    later layers directly, its contours showed as thin lines in soft backgrounds.

    Upsampling is bilinear: nearest left a weave of the period of four pixels that no figure showed and every eye sees.

    Convolutions repeat the edge rather than pad with zeros. A training patch is nearly all edge: with zeros the network
    learns that there are zeros everywhere, finds none in a whole frame, and paints it blurred (on a rendered sequence,
    300 steps: sliced Wasserstein distance 261 with zeros, 114 without). `export` does it once for the whole frame.

    Where two inputs of different resolution meet, each has a convolution of its own and the results are summed: what a
    convolution over both would be, but the coarser is worked on at its own resolution. What follows a sum is a ReLU,
    since ONNX Runtime does sum and ReLU within the convolution, but no other function after a sum.

    With an ST map it sees the exemplar from there, at full resolution, and mixes it with what it paints of its own.

    Three blocks, and 3x3 where half and full resolution join, took a quarter longer; with the prior (engine/prior.py)
    and after 240 steps no figure of seven shots was better for it than single runs differ (tests/bench/README.md).
    """

    def __init__(self, channels: int = 3, blocks: int = 2, filters: int = 32):
        super().__init__()
        self.halo = 19 + blocks * Block.REACH

        def linear(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
            convolution = _conv(inputs, outputs, size, stride, bias=False, padding_mode="replicate")
            return nn.Sequential(convolution, nn.BatchNorm2d(outputs))

        def layer(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
            return linear(inputs, outputs, size, stride).append(nn.LeakyReLU(0.2, inplace=True))

        self.exemplar = Exemplar() if channels > 6 else None
        seen = 3 if self.exemplar is None else SEEN
        # Six by six, which sees further, cost twice as much and was worse (`bust`, 300 steps: psnr 21.3, now 21.6).
        self.at_half = layer(seen, 32, size=4, stride=2)
        self.at_quarter = layer(32, 32, stride=2)
        self.join = linear(32, filters)
        self.join_guide = linear(3, filters) if channels > 3 else None
        trunk = (Block(filters, padding_mode="replicate") for _ in range(blocks))
        self.trunk = nn.Sequential(nn.ReLU(inplace=True), *trunk, layer(filters, 32, size=1))
        self.quarter_to_half, self.half_to_half = linear(32, 16), linear(32, 16, size=1)
        self.to_half = nn.Sequential(nn.ReLU(inplace=True), layer(16, 16))
        self.half_to_full, self.full_to_full = linear(16, 16, size=1), linear(seen, 16, size=1)
        self.to_full = nn.ReLU(inplace=True)
        self.head = _conv(16, 3 if self.exemplar is None else 4, 1)

    def paint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rgb = x[:, :3]
        if self.exemplar is None:
            own = self._through(rgb, x)
            return own, own
        found = self.exemplar(x[:, 6:9])
        painting, plate, sure = found[:, :3], found[:, 3:6], found[:, 6:7]
        apart = torch.abs(plate - rgb)
        # Their mean, as a sum: ONNX Runtime's own of three channels takes five times as long.
        apart = (apart[:, :1] + apart[:, 1:2] + apart[:, 2:3]) * (1 / 3)
        y = self._through(torch.cat([rgb, painting * sure, apart * sure, sure], 1), x)
        own, trust = y[:, :3], y[:, 3:4]
        # A sigmoid made of what IEEE 754 rounds exactly: ONNX Runtime's has other last bits with other thread counts.
        share = (trust / torch.sqrt(trust * trust + 1) * 0.5 + 0.5) * sure
        if not self.training:
            share = torch.clamp((share - DOUBTED) * (1 / (BELIEVED - DOUBTED)), 0, 1)
        return own, own + (painting - own) * share

    def _through(self, seen: Tensor, x: Tensor) -> Tensor:
        """The layers, from what is seen at full resolution; the guide is in x."""
        half = self.at_half(seen)  # (B, 32, H/2, W/2)
        y = self.join(self.at_quarter(half))  # (B, filters, H/4, W/4)
        if self.join_guide is not None:
            y = y + self.join_guide(F.avg_pool2d(x[:, 3:6], 4))
        y = self.trunk(y)  # (B, 32, H/4, W/4)
        y = self.to_half(upsample(self.quarter_to_half(y), "bilinear") + self.half_to_half(half))  # (B, 16, H/2, W/2)
        y = self.to_full(upsample(self.half_to_full(y), "bilinear") + self.full_to_full(seen))  # (B, 16, H, W)
        return self.head(y)  # (B, 3, H, W); with an exemplar 4, the last being how far it is trusted


class Discriminator(nn.Module):
    """PatchGAN (Isola et al. 2017) of 12 filters and two strided layers, as published: is this piece of paint genuine?

    Training only, so instance statistics are fine.
    """

    def __init__(self, filters: int = 12):
        super().__init__()

        def layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            convolution = nn.Conv2d(inputs, outputs, 4, stride, 1)
            return nn.Sequential(convolution, nn.InstanceNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True))

        self.layers = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, filters, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)),
                layer(filters, 2 * filters, 2),
                layer(2 * filters, 4 * filters, 1),
            ]
        )
        self.judge = nn.Conv2d(4 * filters, 1, 4, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, P, P) to a score per overlapping region, (B, 1, ~P/4, ~P/4), and the features of every layer."""
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return self.judge(x), features
