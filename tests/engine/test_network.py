"""The networks: their size, cost and reach, measured and not believed."""

import pytest
import torch
from torch import nn

from fewstroke.engine.config import NetworkConfig
from fewstroke.engine.errors import ParameterError
from fewstroke.engine.network import Generator, PaperGenerator, build_generator


def multiply_adds_per_pixel(generator: nn.Module, channels: int = 3) -> float:
    """Counted by hooks on every convolution of a real run."""
    counted = 0

    def count(module: nn.Conv2d, inputs: object, output: torch.Tensor) -> None:
        nonlocal counted
        counted += module.weight.numel() * output.shape[2] * output.shape[3]

    hooks = [m.register_forward_hook(count) for m in generator.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        generator(torch.zeros(1, channels, 64, 64))
    for hook in hooks:
        hook.remove()
    return counted / 64**2


def reach(generator: Generator, channels: int) -> int:
    """How far from an output pixel an input pixel may lie and still matter: where the gradient is not zero.

    All weights are positive averages, so that nothing cancels; the last is tiny, so that no tanh saturates.
    """
    generator = generator.eval().double()
    convolutions = [m for m in generator.modules() if isinstance(m, nn.Conv2d)]
    for convolution in convolutions:
        convolution.weight.data.fill_(1 / convolution.weight[0].numel())
        if convolution.bias is not None:
            convolution.bias.data.zero_()
    convolutions[-1].weight.data.mul_(1e-9)
    farthest = 0
    for phase in range(generator.SIZE_MULTIPLE):
        picture = torch.ones(1, channels, 192, 4, dtype=torch.double, requires_grad=True)  # narrow: rows tell it all
        centre = 96 + phase
        generator(picture)[0, 0, centre, 2].backward()
        assert picture.grad is not None
        ys = picture.grad[0].abs().sum((0, 2)).nonzero()
        farthest = max(farthest, centre - int(ys.min()), int(ys.max()) - centre)
    return farthest


def test_paper_has_the_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in PaperGenerator().parameters()) == 3_267_523


def test_fast_costs_at_least_25_times_fewer_multiply_adds() -> None:
    paper = multiply_adds_per_pixel(build_generator(NetworkConfig("paper")))
    assert paper == pytest.approx(1_023_000, rel=0.01)
    for channels in (3, 9):
        fast = multiply_adds_per_pixel(build_generator(NetworkConfig("fast", channels)), channels)
        assert paper / fast >= 25


@pytest.mark.parametrize(
    ("preset", "channels", "blocks"),
    [("fast", 3, 0), ("fast", 9, 0), ("fast", 3, 1), ("fast", 9, 6), ("paper", 3, 0), ("paper", 3, 1)],
)
def test_the_halo_is_just_the_reach(preset: str, channels: int, blocks: int) -> None:
    generator = build_generator(NetworkConfig(preset, channels, blocks, filters=16))  # type: ignore[arg-type]
    measured = reach(generator, channels)
    assert measured == generator.halo, f"{preset}: the reach is {measured}"


def test_a_preset_says_its_own_blocks_and_filters() -> None:
    assert NetworkConfig("fast").to_json() == {"preset": "fast", "channels": 3, "blocks": 2, "filters": 32}
    assert NetworkConfig("paper").to_json() == {"preset": "paper", "channels": 3, "blocks": 7, "filters": 128}
    for preset in ("fast", "paper"):
        own = NetworkConfig(preset)
        same = NetworkConfig(preset, blocks=own.blocks, filters=own.filters)
        networks = []
        for config in (own, same):
            torch.manual_seed(0)
            networks.append(build_generator(config).state_dict())
        assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[1])


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_blocks_and_filters_make_the_trunk(preset: str) -> None:
    costs = [
        multiply_adds_per_pixel(build_generator(NetworkConfig(preset, 3, blocks, filters)))  # type: ignore[arg-type]
        for blocks, filters in ((2, 32), (3, 32), (2, 64))
    ]
    assert costs[1] - costs[0] == 2 * 9 * 32 * 32 / 16  # a block: two convolutions at a quarter of the resolution
    assert costs[2] > costs[0]


@pytest.mark.parametrize(("preset", "channels"), [("fast", 6), ("fast", 9), ("paper", 6)])
def test_guide_and_st_map_go_in(preset: str, channels: int) -> None:
    generator = build_generator(NetworkConfig(preset, channels))  # type: ignore[arg-type]
    assert generator(torch.zeros(2, channels, 32, 40)).shape == (2, 3, 32, 40)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ParameterError, match="fast or paper"):
        NetworkConfig("tiny")  # type: ignore[arg-type]
