"""The sampler: where patches come from."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fewstroke.engine.errors import ShapeError, TrainingError
from fewstroke.engine.keyframe import Keyframe
from fewstroke.engine.patches import Patches, PatchSampler


def coordinates(height: int, width: int, mask: np.ndarray | None = None, frame: int = 1) -> Keyframe:
    """A keyframe whose pixels say where they are: source (y, x, frame), target the same plus one."""
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    source = np.stack([ys, xs, np.full_like(ys, frame)], axis=2)
    return Keyframe(frame, source, source + 1, np.ones((height, width), np.float32) if mask is None else mask)


def sampler(
    *keyframes: Keyframe, seed: int = 0, batch: int = 64, rarity: float = 0.0, hardness: float = 0.0
) -> PatchSampler:
    return PatchSampler(keyframes, patch=16, batch=batch, erode=7, seed=seed, rarity=rarity, hardness=hardness)


def drawn(sampler: PatchSampler) -> Patches:
    choice = sampler.choose()
    return sampler.cut(choice.corners, choice.chances)


def test_source_and_target_are_the_same_place() -> None:
    batch = drawn(sampler(coordinates(50, 60)))
    assert batch.source.shape == (64, 3, 16, 16) and batch.mask.shape == (64, 1, 16, 16)
    assert torch.equal(batch.source + 1, batch.target)
    assert not torch.equal(batch.target, batch.real)


def test_centres_lie_in_the_eroded_mask_of_every_keyframe() -> None:
    mask = np.zeros((60, 60), np.float32)
    mask[20:40, 20:45] = 1
    batch = drawn(sampler(coordinates(60, 60, mask, frame=1), coordinates(60, 60, frame=2), batch=2000))
    frame, y, x = batch.source[:, 2, 0, 0], batch.source[:, 0, 8, 8], batch.source[:, 1, 8, 8]
    first = frame == 1
    assert 0 < first.sum() < 2000
    assert y[first].min() >= 23 and y[first].max() <= 36
    assert x[first].min() >= 23 and x[first].max() <= 41
    # Each pixel is as likely as any other: (20 - 6) x (25 - 6) centres against 60 x 60
    assert first.float().mean() == pytest.approx(266 / (266 + 3600), abs=0.02)


def spotted(height: int, width: int, frame: int) -> Keyframe:
    """A keyframe that is grey but for a red spot, a fiftieth of it."""
    source = np.full((height, width, 3), 0.4, np.float32)
    rows, columns = height // 5, width // 10
    source[height // 2 :, width // 2 :][:rows, :columns] = (0.9, 0.1, 0.1)
    return Keyframe(frame, source, source, np.ones((height, width), np.float32))


@pytest.mark.parametrize(("height", "width"), [(100, 150), (701, 1003)])  # the larger one is reduced first
def test_rare_colours_are_drawn_more_often(height: int, width: int) -> None:
    keys = [spotted(height, width, frame=frame) for frame in (1, 2)]

    def red(rarity: float) -> float:
        batch = drawn(sampler(*keys, batch=4000, rarity=rarity))
        return float((batch.source[:, 0, 8, 8] > 0.6).float().mean())

    assert red(0.0) == pytest.approx(0.02, abs=0.007)
    assert 0.1 < red(0.5) < 0.2  # 0.14 of two colours as frequent as that, and of what is mixed at the outline
    assert 0.3 < red(1.0) < 0.6


def test_what_the_mask_leaves_out_is_not_counted() -> None:
    """Of what is painted the spot is half, so it is not rare, however much grey there is around."""
    key = spotted(100, 150, frame=1)
    mask = np.zeros((100, 150), np.float32)
    mask[50:70, 60:90] = 1
    batch = drawn(sampler(Keyframe(1, key.source, key.target, mask), batch=4000, rarity=1.0))
    assert 0.35 < float((batch.source[:, 0, 8, 8] > 0.6).float().mean()) < 0.65


def half_striped() -> Keyframe:
    """Grey, and in the right half, 96 pixels wide, stripes of 4 pixels; painted as it is."""
    source = np.full((100, 192, 3), 0.4, np.float32)
    source[:, 96:][:, np.arange(96) // 4 % 2 == 1] = 0.8
    return Keyframe(1, source, source, np.ones((100, 192), np.float32))


def wrong_above(top: int, bottom: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Paints the plate, but too bright between two rows."""

    def paint(source: torch.Tensor) -> torch.Tensor:
        painted = source[:, :3].clone()
        painted[:, :, top:bottom] += 0.5
        return painted

    return paint


def test_what_is_wrong_and_could_be_known_is_drawn_most() -> None:
    """A fifth of the rows is wrong, and half of them shows something: a tenth of all, and most of the patches."""
    key, paint = half_striped(), wrong_above(40, 60)

    def hard(hardness: float) -> float:
        drawer = sampler(key, batch=4000, hardness=hardness)
        drawer.prefer(drawer.errors(paint))
        corners = drawer.choose().corners
        y, x = corners[0] // 192 + 8, corners[0] % 192 + 8
        return float(((y >= 38) & (y < 62) & (x >= 90)).float().mean())

    assert hard(0.0) == pytest.approx(0.24 * 102 / 192, abs=0.02)
    assert hard(0.5) == pytest.approx(0.5 + 0.5 * 0.24 * 102 / 192, abs=0.04)
    assert hard(1.0) > 0.97


def test_errors_are_those_of_the_painting_where_it_counts() -> None:
    mask = np.ones((100, 192), np.float32)
    mask[:, :50] = 0
    key = half_striped()
    drawer = sampler(Keyframe(1, key.source, key.target, mask), hardness=0.9)
    found = drawer.errors(wrong_above(64, 100))[0].astype(np.float32)
    assert found.shape == (100, 192)
    assert np.abs(found[70:, 55:] - 0.5).max() < 1e-3  # in the middle of it, all of it
    assert np.abs(found[:58]).max() < 1e-3 and np.abs(found[:, :45]).max() < 1e-3


def test_large_paintings_are_looked_at_from_afar(monkeypatch: pytest.MonkeyPatch) -> None:
    near = sampler(half_striped(), half_striped(), hardness=0.9)
    monkeypatch.setattr("fewstroke.engine.patches.LOOKED_AT", 100 * 192 // 2)
    far = sampler(half_striped(), half_striped(), hardness=0.9)  # each a quarter of its pixels
    found, coarse = near.errors(wrong_above(40, 60)), far.errors(wrong_above(20, 30))
    assert found.shape == (2, 100, 192) and coarse.shape == (2, 50, 96)
    np.testing.assert_allclose(coarse[:, 2::5], found[:, 5::10, ::2], atol=0.05)


def test_where_nothing_is_wrong_all_is_drawn_as_before() -> None:
    key = half_striped()
    one, two = sampler(key, hardness=0.9), sampler(key, hardness=0.9)
    two.prefer(two.errors(lambda source: source[:, :3]))
    assert torch.equal(one.choose().corners, two.choose().corners)


def test_errors_of_pictures_whose_sides_are_odd_and_differ() -> None:
    keys = [coordinates(41, 67, frame=1), coordinates(83, 33, frame=2)]  # as large as the first, both
    drawer = sampler(*keys, hardness=0.9)
    sides: list[tuple[int, int]] = []

    def paint(source: torch.Tensor) -> torch.Tensor:
        sides.append((source.shape[2], source.shape[3]))
        return source[:, :3] + 1

    assert drawer.errors(paint).max() < 1e-5
    assert sides == [(44, 68), (44, 68)]


def test_the_same_seed_gives_the_same_batches_and_a_state_goes_on() -> None:
    key = coordinates(40, 40)
    one, two = sampler(key, seed=5), sampler(key, seed=5)
    assert torch.equal(drawn(one).source, drawn(two).source)
    assert not torch.equal(drawn(sampler(key, seed=6)).source, drawn(sampler(key, seed=5)).source)
    state = one.state()
    expected = drawn(one).source
    two.restore(state)
    assert torch.equal(drawn(two).source, expected)


def test_a_picture_smaller_than_a_patch_still_trains() -> None:
    assert drawn(sampler(coordinates(13, 50))).source.shape[2:] == (12, 12)


def test_a_mask_thinner_than_the_erosion_still_counts() -> None:
    mask = np.zeros((40, 40), np.float32)
    mask[:, 20:22] = 1
    assert sampler(coordinates(40, 40, mask)).pixels == 80


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(TrainingError, match="empty"):
        sampler(coordinates(40, 40, np.zeros((40, 40), np.float32)))
    with pytest.raises(TrainingError, match="no keyframe"):
        sampler()


def test_a_painting_of_another_size_is_refused() -> None:
    key = coordinates(40, 40)
    with pytest.raises(ShapeError, match="keyframe 7 is 30x40 but the footage is 40x40"):
        Keyframe(7, key.source, key.target[:, :30], key.mask)
