"""The numbers of a network and of a training run, as frozen dataclasses; JSON both ways, unknown keys refused."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from .errors import ParameterError

Preset = Literal["fast", "paper"]


class _Json:
    """JSON both ways for a flat frozen dataclass."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises ParameterError where a key is unknown or a value is no number; missing keys take their defaults."""
        kinds = {each.name: each.type for each in fields(cls)}  # type: ignore[arg-type]
        for name, value in values.items():
            if name not in kinds:
                raise ParameterError(f"{cls.__name__} has no parameter '{name}'; it has {', '.join(sorted(kinds))}")
            kind = kinds[name]
            if kind in (int, float) and (isinstance(value, bool) or not isinstance(value, (int, kind))):
                raise ParameterError(f"{name} should be a {'whole ' if kind is int else ''}number, not {value!r}")
        return cls(**values)


SHAPES: Mapping[Preset, tuple[int, int]] = {"fast": (2, 32), "paper": (7, 128)}
"""Residual blocks and filters of a preset, where nothing else is said."""


@dataclass(frozen=True)
class NetworkConfig(_Json):
    """What is needed to build the generator again.

    preset    "fast" (ours) or "paper" (the published architecture)
    channels  input channels: 3 for RGB, 6 with a guide layer, 9 with an ST map, too
    blocks    residual blocks of the trunk, the part at a quarter of the resolution; 0: as many as the preset has
    filters   channels of the trunk, wherever else the preset has its own; 0: as many as the preset has

    Where nothing is said `blocks` and `filters` become the preset's numbers, so that they can be read and recorded.
    """

    preset: Preset = "fast"
    channels: int = 3
    blocks: int = 0
    filters: int = 0

    def __post_init__(self) -> None:
        if self.preset not in tuple(SHAPES):
            raise ParameterError(f"there is no preset '{self.preset}'; choose fast or paper")
        for name, own in zip(("blocks", "filters"), SHAPES[self.preset], strict=True):
            value = getattr(self, name) or own
            if value < 1:
                raise ParameterError(f"a network needs at least one of its {name}, not {value}")
            object.__setattr__(self, name, value)


FAST_RATE = 0.004
"""Adam's learning rate of `fast`, ten times that of the paper's larger network."""
FAST_PATCH = 16
"""Side of the patches of `fast`, half of the paper's. What counts is how many steps it has made, with 40 patches of 16
as with 40 of 32, and these take less than half the time (tests/bench/README.md, "Small patches, and
minutes")."""


@dataclass(frozen=True)
class TrainConfig(_Json):
    """How to train. Defaults without a remark are the paper's (section 4 and the published configuration).

    patch         side of a training patch, pixels; a multiple of 4, and 12 at least, for the discriminator
    batch         patches in a step
    judged        how many of them the discriminator and the perceptual loss are shown
    rate          Adam's learning rate
    l1, adversarial, perceptual   weights of the three losses
    erode         side of the square by which a mask is eroded before patches are drawn from it, pixels
    rarity        how far rare colours make up a larger part of the patches than of the painting: from 0, not at all, to
                  1, wholly (see `patches`)
    hardness      the part of the patches that is drawn by how wrong they are painted so far, 0 to 1 (see `patches`)
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
    rarity: float = 0.0
    hardness: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.patch < 12 or self.patch % 4:
            raise ParameterError(f"a patch must be a multiple of 4 pixels and 12 at least, not {self.patch}")
        for name in ("batch", "judged", "erode"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} must be 1 at least, not {getattr(self, name)}")
        if not 0 < self.rate < math.inf:
            raise ParameterError(f"the learning rate must be greater than 0, not {self.rate}")
        for name in ("rarity", "hardness"):
            if not 0 <= getattr(self, name) <= 1:
                raise ParameterError(f"{name} must be from 0 to 1, not {getattr(self, name)}")

    @classmethod
    def for_preset(cls, preset: Preset, seed: int = 0, batch: int = 40) -> Self:
        """What a preset is trained with: `paper` as published; `fast` learns faster, from smaller patches, mostly from
        what is rare and what it paints wrong, and half of the patches are judged."""
        if preset == "paper":
            return cls(seed=seed, batch=batch, judged=batch)
        judged = max(1, batch // 2)
        return cls(FAST_PATCH, batch, judged, FAST_RATE, rarity=1.0, hardness=0.9, seed=seed)


@dataclass(frozen=True)
class Settings:
    """A network and how it is trained: what `fewstroke tune` finds and `fewstroke train --config` takes.

    As JSON: {"network": {...}, "training": {...}}, in which anything may be missing. The network's channels are not
    taken from there, since they follow from the shot.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainConfig = field(default_factory=lambda: TrainConfig.for_preset("fast"))

    @classmethod
    def for_preset(cls, preset: Preset, seed: int = 0) -> Self:
        """What a preset is by default."""
        return cls(NetworkConfig(preset), TrainConfig.for_preset(preset, seed))

    def to_json(self) -> dict[str, Any]:
        network = self.network.to_json()
        del network["channels"]
        return {"network": network, "training": self.training.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises ParameterError where a key is unknown or a value cannot be; missing keys take the preset's."""
        if unknown := sorted(set(values) - {"network", "training"}):
            raise ParameterError(f"settings have no '{unknown[0]}'; they have network and training")
        given = {name: values.get(name, {}) for name in ("network", "training")}
        for name, part in given.items():
            if not isinstance(part, Mapping):
                raise ParameterError(f"'{name}' should hold names and values, not {part!r}")
        network = NetworkConfig.from_json(given["network"])
        batch = TrainConfig.from_json(given["training"]).batch
        preset = TrainConfig.for_preset(network.preset, batch=batch).to_json()
        return cls(network, TrainConfig.from_json({**preset, **given["training"]}))
