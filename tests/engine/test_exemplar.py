"""The exemplar: what an ST map finds in it, how training is led astray, and that the network learns what to believe."""

import dataclasses

import numpy as np
import pytest
import torch
from networks import identity

from fewstroke.engine.config import NetworkConfig, TrainConfig
from fewstroke.engine.errors import TrainingError
from fewstroke.engine.exemplar import FAR_PART, HIDDEN_PART, STRANGER_PART, Exemplar, chances, mislead
from fewstroke.engine.keyframe import Keyframe
from fewstroke.engine.train import Budget, Training

HEIGHT, WIDTH = 48, 64


def painted_noise(rng: np.random.Generator, mask: np.ndarray | None = None) -> Keyframe:
    """Noise over a plate of smooth noise: a painting that nobody could guess from its plate."""
    plate = torch.from_numpy(rng.random((1, 3, 12, 16), np.float32))
    smooth = torch.nn.functional.interpolate(plate, size=(HEIGHT, WIDTH), mode="bicubic")[0].permute(1, 2, 0).numpy()
    guide = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    source = np.concatenate([smooth, guide, identity(HEIGHT, WIDTH)], 2)
    painting = np.rint(rng.random((HEIGHT, WIDTH, 3), np.float32) * 255) / 256  # half floats hold these exactly
    return Keyframe(1, source, painting, np.ones((HEIGHT, WIDTH), np.float32) if mask is None else mask)


def found(exemplar: Exemplar, stmap: np.ndarray) -> np.ndarray:
    """(H, W, 7)"""
    return exemplar(torch.from_numpy(stmap.transpose(2, 0, 1))[None])[0].permute(1, 2, 0).numpy()


def test_the_key_frame_finds_itself(rng: np.random.Generator) -> None:
    key = painted_noise(rng)
    exemplar = Exemplar()
    exemplar.show([key])
    there = found(exemplar, identity(HEIGHT, WIDTH))
    np.testing.assert_allclose(there[..., :3], key.target, atol=2e-5)
    np.testing.assert_allclose(there[..., 3:6], key.source[..., :3], atol=1e-3)
    assert (there[..., 6] == 1).all()


def test_s_leads_to_the_right_and_t_up(rng: np.random.Generator) -> None:
    key = painted_noise(rng)
    exemplar = Exemplar()
    exemplar.show([key])
    there = found(exemplar, identity(HEIGHT, WIDTH) + np.array([3 / WIDTH, 5 / HEIGHT, 0], np.float32))
    np.testing.assert_allclose(there[5:, :-3, :3], key.target[:-5, 3:], atol=1e-4)


def test_several_lie_below_each_other_and_large_ones_are_reduced(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [painted_noise(rng), painted_noise(rng)]
    exemplar = Exemplar()
    exemplar.show(keys)
    for page, key in enumerate(keys):
        there = found(
            exemplar,
            identity(HEIGHT, WIDTH) * np.array([1, 0.5, 1], np.float32) + np.array([0, 0.5 - page / 2, 0], np.float32),
        )
        np.testing.assert_allclose(there[1:-1, :, :3], key.target[1:-1], atol=1e-4)
    monkeypatch.setattr("fewstroke.engine.exemplar.PIXELS", HEIGHT * WIDTH // 2)
    exemplar.show(keys)
    assert exemplar.pictures.shape == (1, 7, HEIGHT, WIDTH // 2)
    means = exemplar.pictures[0, :3, : HEIGHT // 2].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(means, keys[0].target.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean((1, 3)), atol=1e-3)


def test_what_does_not_count_is_not_sure(rng: np.random.Generator) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[:, :20] = 1
    exemplar = Exemplar()
    exemplar.show([painted_noise(rng, mask)])
    stmap = identity(HEIGHT, WIDTH)
    stmap[..., 2] = 0.5
    np.testing.assert_allclose(found(exemplar, stmap)[..., 6], mask / 2, atol=1e-5)


def misled(source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Patches whose target is their plate and whose mask is its red."""
    drawn = torch.from_numpy(chances(np.random.default_rng(1), len(source)))
    return mislead(source, source[:, :3], source[:, :1], 288, 512, 1, drawn)


def test_patches_are_led_astray(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewstroke.engine.exemplar.STRANGER_PART", 0.0)
    source = torch.from_numpy(rng.random((3000, 9, 16, 16), np.float32))
    astray, target, mask = misled(source)
    assert torch.equal(target, source[:, :3]) and torch.equal(mask, source[:, :1])
    light = (astray[:, :3] / source[:, :3].clamp(min=1e-6)).where(source[:, :3] > 0.1, 1)
    bright = (source[:, :1] > 0.1) & (source[:, 1:2] > 0.1)
    assert torch.allclose(light[:, :1][bright], light[:, 1:2][bright], atol=1e-3), "its light changes, not its colour"
    assert float((light - 1).abs().flatten(1).amax(1).lt(1e-5).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert torch.equal(astray, misled(source)[0])
    off = (astray[:, 6:8] - source[:, 6:8]) * torch.tensor([512, 288]).view(1, 2, 1, 1)  # pixels
    size = off.mean((2, 3)).norm(dim=1)
    # Half of the small displacements are below a pixel; displacements of another kind have a median of 24 pixels.
    assert (size < 0.5).float().mean() > 0.2
    assert float((size > 8).float().mean()) == pytest.approx(FAR_PART * 0.92, abs=0.04)
    across, up = (float(axis.std()) for axis in off.unbind(1))
    assert across == pytest.approx(up, rel=0.1)
    hidden = (astray[:, 8] == 0).all(2).all(1)
    foreign = (astray[:, 3:6] != source[:, 3:6]).flatten(1).any(1)
    assert torch.equal(foreign, hidden), "where all is hidden the guide is that of another place"
    assert float(hidden.float().mean()) == pytest.approx(HIDDEN_PART, abs=0.03)
    assert (astray[:, 8] <= source[:, 8] + 1e-6).all()


def test_something_of_another_place_comes_before_some(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewstroke.engine.exemplar.LIGHT_PART", 0.0)
    source = torch.from_numpy(rng.random((3000, 9, 16, 16), np.float32))
    astray, target, mask = misled(source)
    assert torch.equal(astray[:, :3], target), "what is painted there is what has come"
    torch.testing.assert_close(mask, target[:, :1])
    behind = (target == source[:, :3]).all(1)
    before = torch.isclose(target, source[:, :3].roll(1, 0), atol=1e-6).all(1)
    assert float((~behind).float().flatten(1).amax(1).mean()) == pytest.approx(STRANGER_PART, abs=0.05)
    assert float((behind | before).float().mean()) > 0.9, "only its edge is a mixture"
    assert float(before.float().mean()) == pytest.approx(STRANGER_PART / 3, abs=0.08)
    assert (astray[:, 8][before] == 0).all(), "it is not found again"
    shown = (astray[:, 3:6] == source[:, 3:6]).all(1)
    assert float(shown[before].float().mean()) > 0.5, "it has the guide of what it hides"


@pytest.mark.slow
def test_the_network_copies_what_it_finds_and_not_what_it_is_not_sure_of(rng: np.random.Generator) -> None:
    """Noise cannot be learnt in so few steps, only copied: also where the frame was shifted, at a place never seen."""
    key = painted_noise(rng)
    training = Training(
        [key], NetworkConfig(channels=9), TrainConfig(patch=16, batch=16, judged=4), exemplars=[1], device="cpu"
    )
    for _ in training.run(Budget(steps=200)):
        pass

    def error(confidence: float) -> float:
        """Of a frame whose contents have moved 4 to the left and 4 up."""
        plate = np.concatenate([key.source[4:, 4:, :6], identity(HEIGHT, WIDTH)[4:, 4:]], 2)
        plate[..., 8] = confidence
        with torch.no_grad():
            painted = training.generator(torch.from_numpy(plate.transpose(2, 0, 1))[None])[0].permute(1, 2, 0).numpy()
        return float(np.abs(painted - key.target[4:, 4:]).mean())

    copied, invented = error(1.0), error(0.0)
    assert copied < 0.5 * invented
    assert invented > 0.15, "noise was learnt by heart?"


def test_the_exemplar_is_no_part_of_a_checkpoint(rng: np.random.Generator) -> None:
    config = TrainConfig(patch=16, batch=2, judged=2)
    training = Training([painted_noise(rng)], NetworkConfig(channels=9), config, exemplars=[1], device="cpu")
    assert not any("pictures" in name for name in training.generator.state_dict())
    assert training.generator.exemplar is not None


def test_an_exemplar_that_is_not_painted_is_told(rng: np.random.Generator) -> None:
    key = painted_noise(rng)
    keys = [key, dataclasses.replace(key, frame=9)]
    with pytest.raises(
        TrainingError, match="keyframe 4, which the guide leads to, is not painted; take one that is: 1, 9"
    ):
        Training(keys, NetworkConfig(channels=9), TrainConfig(), exemplars=[1, 4], device="cpu")
