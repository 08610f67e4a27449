"""The prior: a network that has not learnt the painting yet already copies it, and carries its colours on."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from networks import identity
from safetensors.torch import load

from fewstroke.engine.config import NetworkConfig, TrainConfig
from fewstroke.engine.keyframe import Keyframe
from fewstroke.engine.network import Generator, build_generator
from fewstroke.engine.prior import begin, has_prior, packed
from fewstroke.engine.train import AVERAGE, WARM_UP, Budget, Training

SHOWN = NetworkConfig("fast", 9)
HEIGHT, WIDTH = 96, 128


@pytest.fixture
def keyframe(rng: np.random.Generator) -> Keyframe:
    """A plate whose left half is dark and whose right half is light, painted as noise that nobody could guess."""
    plate = np.full((HEIGHT, WIDTH, 3), 0.2, np.float32)
    plate[:, WIDTH // 2 :] = 0.7
    painting = rng.random((HEIGHT, WIDTH, 3), np.float32)
    source = np.concatenate([plate, np.full_like(plate, 0.5), identity(HEIGHT, WIDTH)], 2)
    return Keyframe(1, source, painting, np.ones((HEIGHT, WIDTH), np.float32))


def experienced() -> Generator:
    generator = build_generator(SHOWN)
    begin(generator)
    return generator


def painted(generator: Generator, keyframe: Keyframe, stmap: np.ndarray, light: float = 1.0) -> np.ndarray:
    """The key frame's plate in another light, as it is painted where an ST map leads like this: float32 (HEIGHT,
    WIDTH, 3)."""
    assert generator.exemplar is not None
    generator.exemplar.show([keyframe])
    seen = np.concatenate([keyframe.source[..., :3] * np.float32(light), keyframe.source[..., 3:6], stmap], 2)
    with torch.no_grad():
        return generator.eval()(torch.from_numpy(seen.transpose(2, 0, 1))[None])[0].permute(1, 2, 0).numpy()


def off(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).mean())


def test_what_is_hidden_it_paints_in_the_colours_round_it(keyframe: Keyframe) -> None:
    colors = np.array([[0.8, 0.3, 0.2], [0.2, 0.5, 0.7]], np.float32)
    halves = np.repeat(colors, WIDTH // 2, axis=0)[None]
    flat = replace(keyframe, target=(halves + 0.1 * (keyframe.target - 0.5)).astype(np.float32))
    holes = [np.s_[40:56, 24:40], np.s_[40:56, 88:104]]
    stmap = identity(HEIGHT, WIDTH)
    for hole in holes:
        stmap[hole][..., 2] = 0
    at_once, fresh = painted(experienced(), flat, stmap), painted(build_generator(SHOWN), flat, stmap)
    for (rows, columns), color in zip(holes, colors, strict=True):
        inner = np.s_[rows.start + 4 : rows.stop - 4, columns.start + 4 : columns.stop - 4]
        assert off(at_once[inner], color) < 0.2 < off(fresh[inner], color)


@pytest.mark.parametrize("light", [1.0, 1.1])
def test_it_copies_a_painting_that_it_has_never_seen(keyframe: Keyframe, light: float) -> None:
    assert off(painted(experienced(), keyframe, identity(HEIGHT, WIDTH), light), keyframe.target) < 0.01


def test_training_begins_with_it_and_leaves_it_slowly(keyframe: Keyframe) -> None:
    config = TrainConfig(patch=16, batch=4, rate=0.06)
    training = Training([keyframe], SHOWN, config, exemplars=[1], device="cpu")
    before = {name: value.clone() for name, value in training.generator.state_dict().items()}
    assert all(torch.equal(value, before[name]) for name, value in experienced().state_dict().items())
    list(training.run(Budget(steps=1)))
    name = "head.weight"
    step = training._learner.state_dict()[name] - before[name]
    moved = training.generator.state_dict()[name] - before[name]
    torch.testing.assert_close(moved, (1 - AVERAGE) * step, atol=1e-7, rtol=1e-3)
    # Adam's first step moves every weight by the rate.
    assert float(step.abs().max()) == pytest.approx(config.rate / WARM_UP, rel=1e-2)


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig("fast", 3),
        NetworkConfig("fast", 6),
        NetworkConfig("fast", 9, blocks=3),
        NetworkConfig("fast", 9, filters=16),
        NetworkConfig("paper", 3),
    ],
)
def test_other_networks_begin_from_nothing(config: NetworkConfig) -> None:
    assert has_prior(SHOWN) and not has_prior(config)


def test_a_training_may_do_without_it(keyframe: Keyframe) -> None:
    training = Training([keyframe], SHOWN, TrainConfig(), exemplars=[1], device="cpu", experienced=False)
    assert not torch.equal(training.generator.state_dict()["head.weight"], experienced().state_dict()["head.weight"])


def test_the_file_holds_what_was_learnt_and_no_painting(keyframe: Keyframe) -> None:
    generator = build_generator(SHOWN)
    assert generator.exemplar is not None
    generator.exemplar.show([keyframe])
    weights = load(packed(generator, SHOWN))
    for name, value in generator.state_dict().items():
        torch.testing.assert_close(weights[name].to(value.dtype), value, atol=1e-3, rtol=1e-3)
    assert not any("pictures" in name for name in weights)


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    path = Path(__file__).parents[2] / "install" / "prior.py"
    spec = importlib.util.spec_from_file_location("recipe", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scenes_are_drawn_from_their_number_and_painted_where_the_plate_is(recipe: ModuleType) -> None:
    plate, painting = recipe.scene(2)
    again, other = recipe.scene(2), recipe.scene(3)
    assert (again[0] == plate).all() and (again[1] == painting).all()
    assert (other[0] != plate).any()
    for picture in (plate, painting):
        assert picture.shape == (recipe.HEIGHT, recipe.WIDTH, 3) and picture.dtype == np.float32
        assert picture.min() >= 0 and picture.max() <= 1 and picture.std() > 0.05

    def edges(picture: np.ndarray) -> np.ndarray:
        return np.abs(np.diff(picture.mean(axis=2), axis=1))

    outlines = edges(plate) > 0.1  # and so they should be of the painting
    assert edges(painting)[outlines].mean() > 2 * edges(painting)[~outlines].mean()


@pytest.mark.slow
def test_the_recipe_makes_a_file_that_training_can_begin_with(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "prior.safetensors"
    monkeypatch.setattr("sys.argv", ["prior.py", "--scenes", "2", "--steps", "3", "--out", str(out)])
    recipe.main()
    build_generator(SHOWN).load_state_dict(load(out.read_bytes()))
