"""The numbers of a network and of a training run, as frozen dataclasses; JSON both ways, unknown keys refused."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from .errors import ParameterError

Preset = Literal["fast", "paper"]


class _Json:
    """JSON both ways for a flat frozen dataclass."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises ParameterError where a key is unknown; missing keys take their defaults."""
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - known)
        if unknown:
            raise ParameterError(f"{cls.__name__} has no parameter '{unknown[0]}'; it has {', '.join(sorted(known))}")
        return cls(**values)


@dataclass(frozen=True)
class NetworkConfig(_Json):
    """What is needed to build the generator again.

    preset    "fast" (ours) or "paper" (the published architecture)
    channels  input channels: 3 for RGB, 6 with a guide layer, 9 with an ST map, too
    """

    preset: Preset = "fast"
    channels: int = 3

    def __post_init__(self) -> None:
        if self.preset not in ("fast", "paper"):
            raise ParameterError(f"there is no preset '{self.preset}'; choose fast or paper")


@dataclass(frozen=True)
class TrainConfig(_Json):
    """How to train. Defaults without a remark are the paper's (section 4 and the published configuration).

    patch         side of a training patch, pixels
    batch         patches in a step
    judged        how many of them the discriminator and the perceptual loss are shown
    rate          Adam's learning rate
    l1, adversarial, perceptual   weights of the three losses
    erode         side of the square by which a mask is eroded before patches are drawn from it, pixels
    seed          of everything random: weights, patches
    """

    patch: int = 32
    batch: int = 40
    judged: int = 40
    rate: float = 4e-4
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-5
    l1: float = 4.0
    adversarial: float = 0.5
    perceptual: float = 6.0
    erode: int = 7
    seed: int = 0

    @classmethod
    def for_preset(cls, preset: Preset, seed: int = 0) -> "TrainConfig":
        """What a preset is trained with: `paper` as published, `fast` with half of the patches judged."""
        return cls(seed=seed) if preset == "paper" else cls(seed=seed, judged=20)
