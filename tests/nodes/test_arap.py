import cv2
import numpy as np
import pytest

from fewstroke.engine.errors import CancelledError
from fewstroke.nodes.arap import _BONDS, _solve, _telling, agreement, register

HEIGHT, WIDTH = 144, 192
X, Y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))


def texture(seed: int, size: int = 512) -> np.ndarray:
    """Smooth random colour, 0.1 to 0.9, wider than a frame so that motion brings in content: (size, size, 3)."""
    noise = np.random.default_rng(seed).standard_normal((size, size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5) * 5 + cv2.GaussianBlur(noise, (0, 0), 5) * 12
    return np.clip(0.5 + smooth / smooth.std() * 0.15, 0.1, 0.9).astype(np.float32)


def seen(canvas: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What a frame shows whose pixels look at (x, y), counted from the middle of the canvas' first frame."""
    offset = (canvas.shape[1] - WIDTH) // 2, (canvas.shape[0] - HEIGHT) // 2
    return cv2.remap(canvas, (x + offset[0]).astype(np.float32), (y + offset[1]).astype(np.float32), cv2.INTER_LANCZOS4)


def visible(truth: np.ndarray) -> np.ndarray:
    x, y = X + truth[..., 0], Y + truth[..., 1]
    return (x >= 0) & (x <= WIDTH - 1) & (y >= 0) & (y <= HEIGHT - 1)


def rigid(degrees: float, shift_x: float, shift_y: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The true displacement of a rotation about the middle and a shift, and where the target's pixels came from."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle, shift = np.array([WIDTH / 2, HEIGHT / 2]), np.array([shift_x, shift_y])
    here = np.stack([X, Y], -1)
    there = (here - middle) @ turn.T + middle + shift
    origin = (here - middle - shift) @ turn + middle
    return there - here, origin[..., 0], origin[..., 1]


@pytest.mark.parametrize(
    "motion",
    [(0, 0, 0), (0, 3.3, -1.7), (0, 40, 10), (3, 1.5, 2), (30, 0, 0), (-20, 25, -10), (90, 0, 0), (180, 5, 3)],
    ids=str,
)
def test_rigid_motion_is_reproduced(motion: tuple[float, float, float]) -> None:
    canvas = texture(0)
    truth, x, y = rigid(*motion)
    displacement, _ = register(seen(canvas, X, Y), seen(canvas, x, y))
    error = np.linalg.norm(displacement - truth, axis=2)[visible(truth)]
    assert error.mean() < 0.05


@pytest.mark.parametrize("amplitude", [2.0, 5.0])
def test_smooth_warps_are_recovered(amplitude: float) -> None:
    canvas = texture(1)
    # The target's pixel (x, y) came from (x, y) + pull; the truth is the inverse of that, by fixed-point iteration.
    angle = X / 40 + Y / 55
    pull = amplitude * np.stack([np.sin(angle), np.cos(angle * 1.3)], -1).astype(np.float32)
    truth = -pull
    for _ in range(100):
        truth = -cv2.remap(
            pull, X + truth[..., 0], Y + truth[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    displacement, _ = register(seen(canvas, X, Y), seen(canvas, X + pull[..., 0], Y + pull[..., 1]))
    error = np.linalg.norm(displacement - truth, axis=2)[visible(truth)]
    assert error.mean() < 0.5 and np.median(error) < 0.25


def test_a_plain_area_follows_its_surroundings() -> None:
    canvas = texture(2)
    canvas[200:300, 200:300] = 0.5
    means, worst = [], []
    for seed in range(3):  # which way the noise pulls differs from one draw to the next
        noise = np.random.default_rng(seed).normal(0, 0.008, (2, HEIGHT, WIDTH, 3)).astype(np.float32)
        displacement, _ = register(seen(canvas, X, Y) + noise[0], seen(canvas, X - 6, Y + 3) + noise[1])
        error = np.abs(displacement - [6, -3])[10:-10, 10:-10]
        means.append(error.mean())
        worst.append(error.max())
    assert np.mean(means) < 0.25 and np.median(worst) < 1.5 and worst[0] < 1.5


@pytest.mark.parametrize("zoom", [0.85, 1.2])
def test_a_plain_area_beside_what_is_seen_follows_a_zoom(zoom: float) -> None:
    """Half of the frame is plain, to its edge: a lattice that keeps its size would be 15 pixels off there."""
    canvas = texture(2)
    canvas[:, 512 // 2 :] = 0.5
    middle = np.array([WIDTH / 2, HEIGHT / 2])
    x, y = np.moveaxis((np.stack([X, Y], -1) - middle) / zoom + middle, -1, 0)
    truth = (np.stack([X, Y], -1) - middle) * (zoom - 1)
    displacement, _ = register(seen(canvas, X, Y), seen(canvas, x, y))
    error = np.linalg.norm(displacement - truth, axis=2)
    assert error[visible(truth)].mean() < 0.5 and error[visible(truth)].max() < 3


def test_a_moving_thing_does_not_drag_a_plain_background() -> None:
    def frame(shift: int) -> np.ndarray:
        picture = np.full((HEIGHT, WIDTH, 3), 0.6, np.float32)
        picture[:, :40], picture[:, -40:] = texture(3)[:HEIGHT, :40], texture(4)[:HEIGHT, :40]
        picture[50:100, 70 + shift : 120 + shift] = texture(5)[:50, :50] * (0.6, 0.2, 0.2)
        return picture + np.random.default_rng(shift).normal(0, 0.004, picture.shape).astype(np.float32)

    displacement, _ = register(frame(0), frame(8))
    assert np.abs(displacement[54:96, 74:116] - [8, 0]).mean() < 0.2
    apart = np.ones((HEIGHT, WIDTH), bool)
    apart[44:106, 64:134] = False
    assert np.abs(displacement[apart]).max() < 1.5


def test_a_good_start_finds_more_than_none() -> None:
    """A motion too large and too bent for one registration is found from what is nearly right."""
    canvas = texture(6)
    truth, x, y = rigid(40, 30, 20)
    start = (truth + 2).astype(np.float32)
    trust = np.ones((HEIGHT, WIDTH), np.float32)
    displacement, _ = register(seen(canvas, X, Y), seen(canvas, x, y), initial=start, trust=trust)
    assert np.linalg.norm(displacement - truth, axis=2)[visible(truth)].mean() < 0.3


@pytest.mark.parametrize(("degrees", "growth"), [(0, 1.5), (0, 0.67), (-30, 1.3)])
def test_a_thing_that_grows_before_a_still_background_is_followed(degrees: float, growth: float) -> None:
    """In steps, as a shot has them: each begins with what is known of the last."""
    canvas, middle = texture(9), np.array([WIDTH / 2, HEIGHT / 2])
    ring = np.linalg.norm(np.stack([X, Y], -1) - middle, axis=2)

    def frame(share: float) -> np.ndarray:
        angle, size = np.deg2rad(degrees * share), growth**share
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        origin = (np.stack([X, Y], -1) - middle) @ turn / size + middle
        thing = seen(texture(10), origin[..., 0], origin[..., 1]) * np.array([1, 0.5, 0.5], np.float32)
        return np.where(ring[..., None] < 40 * size, thing, seen(canvas, X, Y) * np.array([0.5, 0.5, 1], np.float32))

    steps = 8
    displacement, sure = register(frame(0), frame(1 / steps))
    for step in range(2, steps + 1):
        displacement, sure = register(frame(0), frame(step / steps), initial=displacement, trust=sure)
    angle = np.deg2rad(degrees)
    turn = growth * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    truth = (np.stack([X, Y], -1) - middle) @ (turn.T - np.eye(2))
    assert np.median(np.linalg.norm(displacement - truth, axis=2)[ring < 34]) < 0.4
    assert np.linalg.norm(displacement, axis=2)[ring > 40 * max(1, growth) + 8].mean() < 0.1


@pytest.mark.parametrize(("gain", "lift"), [(0.5, 0.0), (1.6, 0.0), (0.8, 0.15)])
def test_other_light_is_no_other_picture(gain: float, lift: float) -> None:
    canvas = texture(11)
    source, target = seen(canvas, X, Y), seen(canvas, X - 5, Y + 2) * np.float32(gain) + np.float32(lift)
    displacement, sure = register(source, target)
    truth = np.broadcast_to(np.array([5, -2], np.float32), displacement.shape)
    assert np.linalg.norm(displacement - truth, axis=2)[visible(truth)].mean() < 0.1
    assert np.median(sure) > 0.8
    assert np.median(agreement(source, target, displacement)) > 0.8


def test_confidence_is_high_where_seen_and_low_where_hidden() -> None:
    canvas = texture(7)
    target = seen(canvas, X - 4, Y)
    target[40:90, 60:120] = texture(8)[:50, :60]
    displacement, confidence = register(seen(canvas, X, Y), target)
    assert np.median(confidence[:, 140:180]) > 0.9
    assert confidence[48:82, 64:108].mean() < 0.2
    assert np.median(confidence) == pytest.approx(
        np.median(agreement(seen(canvas, X, Y), target, displacement)), abs=1e-6
    )


def test_mattes_keep_layers_apart() -> None:
    """Each layer follows its own content, and beyond its matte goes on as that content does: how well it does so where
    nothing of it is seen is up to chance, so it is the mean of many shots."""
    matte = np.zeros((2, HEIGHT, WIDTH), np.float32)
    for index, shift in enumerate((0, 10)):
        matte[index, 40:100, 60 + shift : 130 + shift] = 1
    seen_in_both = (matte[0] == 0) & (np.roll(matte[1], 5, axis=1) == 0)
    middle = np.s_[8:-8, 12:-12]
    errors = []
    for seed in range(40):
        back, front = texture(seed), texture(100 + seed)
        frames = [
            np.where(cover[..., None] > 0, seen(front, X - shift, Y), seen(back, X + shift / 2, Y))
            for cover, shift in zip(matte, (0, 10), strict=True)
        ]
        subject, _ = register(*frames, source_matte=matte[0], target_matte=matte[1])
        background, _ = register(*frames, source_matte=1 - matte[0], target_matte=1 - matte[1])
        error = np.abs(background - [-5, 0]).mean(axis=2)[middle]
        own = np.abs(subject[44:96, 64:126] - [10, 0]).mean()
        errors.append((own, error.mean(), error[seen_in_both[middle]].mean()))
    own, beyond, seen_part = np.mean(errors, axis=0)
    assert own < 0.1
    assert beyond < 0.1
    assert seen_part < 0.05


def test_colours_as_bright_as_each_other_are_told_apart() -> None:
    green = texture(11)[..., 1]
    canvas = np.stack([0.5 + (0.5 - green) * (0.7152 / 0.2126) / 2, 0.25 + green / 2, np.full_like(green, 0.5)], -1)
    luma = canvas @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    assert luma.std() < 1e-6  # nothing to be seen in greys of luma
    truth, x, y = rigid(4, 5.4, -3.2)
    displacement, sure = register(seen(canvas, X, Y), seen(canvas, x, y))
    there = visible(truth)
    assert np.linalg.norm(displacement - truth, axis=2)[there].mean() < 0.05
    assert sure[there].mean() > 0.95


def test_texture_counts_beside_strong_colours() -> None:
    """Red and green squares, as bright as each other, and a texture of light, which their difference would not show."""
    y, x = np.mgrid[:512, :512] // 48
    red = ((x + y) % 2)[..., None] * np.array([0.6, -0.18, 0], np.float32) + np.array([0.2, 0.4, 0.3], np.float32)
    canvas = (red * (1 + 0.3 * (texture(12)[..., :1] - 0.5))).astype(np.float32)
    mixture = _telling(seen(canvas, X, Y))
    assert mixture.min() >= 0 and np.isclose(mixture.sum(), 1)
    truth, x, y = rigid(5, 7.6, -4.1)
    displacement, _ = register(seen(canvas, X, Y), seen(canvas, x, y))
    assert np.linalg.norm(displacement - truth, axis=2)[visible(truth)].mean() < 0.1


def test_black_and_small_pictures_stay_still() -> None:
    for shape in ((1, 1, 3), (5, 70, 3), (40, 33, 3)):
        black = np.zeros(shape, np.float32)
        displacement, confidence = register(black, black)
        assert displacement.shape == (*shape[:2], 2) and confidence.shape == shape[:2]
        assert np.abs(displacement).max() < 1e-3


def test_values_far_above_one_are_compared() -> None:
    canvas = texture(11) * 20
    displacement, _ = register(seen(canvas, X, Y), seen(canvas, X - 3, Y))
    assert np.abs(displacement[8:-8, 8:-8] - [3, 0]).mean() < 0.05


def test_threads_change_no_bit() -> None:
    canvas = texture(12)
    pair = seen(canvas, X, Y), seen(canvas, X * 1.03 - 4, Y * 0.99 + 2)
    before = cv2.getNumThreads()
    results = []
    try:
        for threads in (1, 2, 5):
            cv2.setNumThreads(threads)
            results.append(register(*pair))
    finally:
        cv2.setNumThreads(before)
    for displacement, confidence in results[1:]:
        assert np.array_equal(displacement, results[0][0]) and np.array_equal(confidence, results[0][1])


def test_cancels_wherever_it_asks() -> None:
    canvas = texture(13)
    pair = seen(canvas, X, Y), seen(canvas, X - 4, Y)
    asked = 0

    def count() -> None:
        nonlocal asked
        asked += 1

    register(*pair, cancel=count)
    assert asked > 10
    for limit in range(0, asked, 5):
        left = limit

        def cancel() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise CancelledError

        with pytest.raises(CancelledError):
            register(*pair, cancel=cancel)


@pytest.mark.parametrize("shape", [(9, 14), (14, 9), (11, 11), (2, 2), (2, 7)])
def test_a_lattice_is_solved_as_the_whole_system_is(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(3)
    index = np.arange(shape[0] * shape[1]).reshape(shape)
    weight = random.uniform(1e-6, 1, shape) ** 4 + 1e-6
    bonds = [random.uniform(1e-5, 1, index[first].shape) for first, _ in _BONDS]
    right = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    system = np.diag(weight.ravel())
    for (first, second), bond in zip(_BONDS, bonds, strict=True):
        for one, other, strength in zip(index[first].ravel(), index[second].ravel(), bond.ravel(), strict=True):
            system[[one, other], [one, other]] += strength
            system[[one, other], [other, one]] -= strength
    expected = np.linalg.solve(system, right.ravel()).reshape(shape)
    assert np.allclose(_solve(bonds, weight, right), expected, rtol=1e-7)
