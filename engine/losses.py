"""What the generator is asked for: L1 + adversarial + perceptual (paper, Fig. 4, after Futschik et al. 2019)."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import TrainingError


def masked_l1(painted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference where the mask counts; (B, 3, P, P) twice and (B, 1, P, P), a scalar."""
    return ((painted - target).abs() * mask).sum() / (3 * mask.sum()).clamp(min=1)


def composite(painted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The painting outside the mask, so that no loss that looks at neighbourhoods sees what does not count."""
    return torch.lerp(target, painted, mask)


def generator_adversarial(score: Tensor) -> Tensor:
    """Least squares (Mao et al. 2017): the generator wants its paint to score 1."""
    return (score - 1).square().mean()


def discriminator_adversarial(real: Tensor, fake: Tensor) -> Tensor:
    """Least squares: genuine paint should score 1, the generator's 0."""
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def feature_distance(painted: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of a network's features, averaged over its layers (feature matching, Wang et al. 2018).

    With the discriminator's own features this is the perceptual loss that needs no download: they know the strokes of
    just this painting. On the rendered sequences it was worth 1 to 2 dB over none after 300 steps.
    """
    return torch.stack([F.l1_loss(a, b) for a, b in zip(painted, target, strict=True)]).mean()


class VggLoss(nn.Module):
    """Distance of VGG-19 features (Simonyan and Zisserman 2015) at layers 0, 3 and 5, as published.

    Those layers need only the first three convolutions, so any file that holds them will do.
    """

    LAYERS = (0, 2, 5)
    MEAN = (0.485, 0.456, 0.406)
    STD = (0.229, 0.224, 0.225)

    def __init__(self, weights: Path):
        """weights: torchvision's `vgg19-dcbb9e9d.pth` (or a safetensors file) with `features.N.weight` and `.bias`.

        Raises TrainingError where the file is not that.
        """
        super().__init__()
        state = _read_weights(weights)
        convolutions = []
        for layer, (inputs, outputs) in zip(self.LAYERS, ((3, 64), (64, 64), (64, 128)), strict=True):
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
            for name, parameter in convolution.named_parameters():
                value = state.get(f"features.{layer}.{name}")
                if value is None or value.shape != parameter.shape:
                    raise TrainingError(
                        f"{weights} does not hold VGG-19: features.{layer}.{name} should be {tuple(parameter.shape)}; "
                        "give torchvision's vgg19-dcbb9e9d.pth, or leave it out"
                    )
                parameter.data.copy_(value)
            convolutions.append(convolution)
        self.first, self.second, self.third = convolutions
        self.mean = nn.Buffer(torch.tensor(self.MEAN).view(1, 3, 1, 1))
        self.std = nn.Buffer(torch.tensor(self.STD).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, P, P) in 0..1 to layers 0 (64, P), 3 (64, P) and 5 (128, P/2)."""
        zero = self.first((x - self.mean) / self.std)
        three = F.relu(self.second(F.relu(zero)))
        five = self.third(F.max_pool2d(three, 2))
        return zero, three, five

    def forward(self, painted: Tensor, target: Tensor) -> Tensor:
        pairs = zip(self.features(painted), self.features(target), strict=True)
        return torch.stack([F.mse_loss(a, b) for a, b in pairs]).mean()


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"the VGG-19 weights {path} are not there; give the path of vgg19-dcbb9e9d.pth") from None
    except Exception:  # each loader has its own exceptions for a damaged file, and essays for messages
        raise TrainingError(f"the VGG-19 weights {path} are damaged or no weights; download them again") from None


def cached_vgg() -> Path | None:
    """torchvision's VGG-19 file where torch's hub keeps it, or None; nothing is ever downloaded."""
    home = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache" / "torch"))
    path = home / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    return path if path.is_file() else None
