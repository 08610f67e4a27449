"""The prior: `fast` begins with what it has learnt from other paintings.

How to carry the exemplar's colours on to where it shows nothing is much the same in every style; and without it a
network paints black at first, wherever it does not copy. So one with an exemplar starts from weights that have learnt
drawn scenes, each painted in a style of its own (install/prior.py, the recipe). It paints at once what had taken a
hundred steps.
"""

import json
from functools import cache
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save

from .config import NetworkConfig
from .network import Generator

PRIOR = Path(__file__).with_name("prior.safetensors")
"""Weights in half floats, and in the header the `NetworkConfig` that they are for."""


@cache
def _prior_for() -> NetworkConfig:
    with safe_open(PRIOR, "pt") as file:
        return NetworkConfig.from_json(json.loads(file.metadata()["network"]))


def has_prior(config: NetworkConfig) -> bool:
    """Whether there is one for this network: the preset `fast` as it is by default, with an ST map."""
    return config == _prior_for()


def begin(generator: Generator) -> None:
    """Gives a network, for which there is a prior, its weights."""
    generator.load_state_dict(load_file(PRIOR))


def packed(generator: Generator, config: NetworkConfig) -> bytes:
    """The file of a prior: what a generator has learnt, without the paintings."""
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in generator.state_dict().items()
    }
    return save(weights, metadata={"network": json.dumps(config.to_json())})
