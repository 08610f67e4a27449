import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from standing import Footage, array_of, check_cancel, check_declared, check_keys, check_order, fresh_evaluator

from fewstroke.engine.errors import ParameterError, ShapeError
from fewstroke.engine.frames import FrameRange
from fewstroke.engine.image import Image
from fewstroke.nodes.guide import Guide, GuideParams, Register, RegisterParams, work_size
from fewstroke.nodes.motion import Vectors, is_cut
from fewstroke.nodes.node import Cancel, Fetch, Node

HEIGHT, WIDTH = 96, 128
SMALL = GuideParams(keyframe=5, spacing=36, sigma=15)
"""At 96 rows: points 12 pixels apart, sigma 5 pixels."""


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((300, 400, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5) * 5 + cv2.GaussianBlur(noise, (0, 0), 5) * 12
    return np.clip(0.3 + smooth / smooth.std() * 0.12, 0.01, 0.9).astype(np.float32)


def pan(frames: range = range(1, 13), step: tuple[int, int] = (3, 1)) -> Footage:
    """A camera over a flat picture: content moves by -step from frame to frame."""
    canvas = texture(0)

    def window(t: int) -> Image:
        x, y = 120 + step[0] * t, 100 + step[1] * t
        return Image(np.ascontiguousarray(canvas[y : y + HEIGHT, x : x + WIDTH]))

    return Footage({t: window(t) for t in frames})


def still(frames: int = 12) -> Footage:
    picture = Image(texture(1)[:HEIGHT, :WIDTH].copy())
    return Footage(dict.fromkeys(range(1, frames + 1), picture))


def square(frames: range = range(1, 13), step: int = 4) -> tuple[Footage, Footage]:
    """A square that moves over a still background, and its matte."""
    back, front = texture(2)[:HEIGHT, :WIDTH], texture(3)[:40, :40]
    pictures, mattes = {}, {}
    for t in frames:
        picture, matte = back.copy(), np.zeros((HEIGHT, WIDTH, 1), np.float32)
        x = 20 + step * t
        picture[30:70, x : x + 40], matte[30:70, x : x + 40] = front, 1
        pictures[t], mattes[t] = Image(picture), Image(matte)
    return Footage(pictures), Footage(mattes)


class Known(Node):
    """Vectors from memory: one shift per frame."""

    @dataclasses.dataclass(frozen=True)
    class Params:
        x: float
        y: float

    def towards(self, offset: int) -> "Known":
        return Known(self.Params(self.params.x * offset, self.params.y * offset))

    def frames(self) -> FrameRange:
        return FrameRange.of(range(1, 13))

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
        return np.full((HEIGHT, WIDTH, 2), (self.params.x, self.params.y), np.float32)


def known(x: float, y: float) -> Vectors:
    return Known(Known.Params(x, y))  # pyright: ignore[reportReturnType]


def guide(node: Node, frame: int) -> np.ndarray:
    return fresh_evaluator()(node, frame).pixels


def test_a_guide_is_a_colourful_picture_without_alpha() -> None:
    for frame in (5, 9):
        image = fresh_evaluator()(Guide(SMALL, footage=pan()), frame)
        assert image.pixels.shape == (HEIGHT, WIDTH, 3) and image.pixels.dtype == np.float32
        assert image.pixels.min() >= 0 and image.pixels.max() <= 1
        assert 0.4 < image.pixels.mean() < 0.6 and image.pixels.std() > 0.12


def test_no_two_places_look_alike() -> None:
    pixels = guide(Guide(GuideParams(keyframe=1), footage=still()), 1)
    rough = cv2.resize(pixels, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)
    patches = np.stack([rough[y : y + 6, x : x + 6].ravel() for y in range(18) for x in range(26)])
    far = np.array([[abs(a % 26 - b % 26) + abs(a // 26 - b // 26) > 6 for a in range(468)] for b in range(468)])
    distance = np.linalg.norm(patches[:, None] - patches[None], axis=2)
    assert distance[far].min() > 0.5


def test_points_stick_to_a_panning_shot() -> None:
    node = Guide(SMALL, footage=pan())
    first = guide(node, 5)
    for frame in (1, 6, 12):
        x, y = 3 * (frame - 5), frame - 5
        moved = guide(node, frame)
        here = moved[max(0, -y) : HEIGHT - max(0, y), max(0, -x) : WIDTH - max(0, x)]
        there = first[max(0, y) : HEIGHT - max(0, -y), max(0, x) : WIDTH - max(0, -x)]
        # At the border where content comes in, points show that the key frame had no room for.
        assert np.abs(here - there)[16:-16, 16:-16].mean() < 0.02


def test_constant_footage_gives_a_still_guide() -> None:
    node = Guide(SMALL, footage=still())
    evaluate = fresh_evaluator()
    first = evaluate(node, 5).pixels
    for frame in (1, 4, 6, 12):
        assert np.abs(evaluate(node, frame).pixels - first).max() < 0.02


def test_holes_and_incoming_borders_are_filled() -> None:
    """Everywhere as colourful as in the key frame: no black, no plain grey."""

    def dullest(pixels: np.ndarray) -> float:
        spread = cv2.blur(pixels**2, (25, 25)) - cv2.blur(pixels, (25, 25)) ** 2
        return float(spread.sum(axis=2)[12:-12, 12:-12].min())

    footage, _ = square()
    for node, frames in ((Guide(SMALL, footage=pan()), (5, 1, 12)), (Guide(SMALL, footage=footage), (5, 1, 9))):
        key, *others = (guide(node, frame) for frame in frames)
        for pixels in others:
            assert dullest(pixels) > 0.25 * dullest(key)


@pytest.mark.parametrize("layers", [False, True])
def test_background_stays_when_the_subject_moves(layers: bool) -> None:
    footage, matte = square(step=3)
    node = Guide(SMALL, footage=footage, matte=matte if layers else None)
    first, later = guide(node, 5), guide(node, 9)
    apart = np.ones((HEIGHT, WIDTH), bool)
    apart[30 - 14 : 70 + 14, 20 + 3 * 5 - 14 : 60 + 3 * 9 + 14] = False
    assert np.abs(later - first)[apart].mean() < 0.02
    inside = later[42:58, 20 + 27 + 12 : 60 + 27 - 12] - first[42:58, 20 + 15 + 12 : 60 + 15 - 12]
    assert np.abs(inside).mean() < 0.06


def test_layers_show_background_points_where_the_subject_was() -> None:
    """The points behind the subject are there all along: uncovered, they are the ones that later frames show too."""
    footage, matte = square()
    node = Guide(SMALL, footage=footage, matte=matte)
    uncovered = [guide(node, frame)[36:64, 42:52] for frame in (9, 12)]
    assert np.abs(uncovered[0] - uncovered[1]).mean() < 0.02


def test_layers_are_another_result_in_the_key_frame_too() -> None:
    footage, matte = square()
    plain, layered = Register(RegisterParams(5), footage), Register(RegisterParams(5), footage, matte)
    assert plain.key(5) != layered.key(5)
    evaluate = fresh_evaluator()
    assert len(evaluate(plain, 5)) == 1 and len(evaluate(layered, 5)) == 2


def test_a_zoom_leaves_the_gaussians_round_and_as_large() -> None:
    canvas = texture(4)[:HEIGHT, :WIDTH]
    center = np.array([WIDTH / 2, HEIGHT / 2])

    def zoomed(factor: float) -> Image:
        matrix = np.array([[factor, 0, center[0] * (1 - factor)], [0, factor, center[1] * (1 - factor)]])
        return Image(
            cv2.warpAffine(canvas, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        )

    node = Guide(SMALL, footage=Footage({t: zoomed(1.06 ** (t - 5)) for t in range(1, 13)}))

    def sharpness(pixels: np.ndarray) -> float:
        return float(np.abs(np.diff(pixels, axis=1)).mean() / pixels.std())

    assert sharpness(guide(node, 12)) == pytest.approx(sharpness(guide(node, 5)), rel=0.2)


def with_insert(frames: range) -> Footage:
    """The panning shot with another shot cut in at these frames."""
    other = {t: Image(texture(6)[:HEIGHT, t : t + WIDTH].copy()) for t in frames}
    return Footage({**pan().pictures, **other})


@pytest.mark.parametrize("vectors", [None, known(-3, -1)], ids=["matching", "vectors"])
def test_nothing_is_followed_over_a_cut(vectors: Vectors | None) -> None:
    node = Register(RegisterParams(5, 2), with_insert(range(8, 13)), vectors=vectors)
    alone = Register(RegisterParams(5, 2), pan(range(1, 8)), vectors=vectors)
    assert np.array_equal(fresh_evaluator()(node, 7), fresh_evaluator()(alone, 7))
    assert not any(fresh_evaluator()(node, frame).any() for frame in (8, 12))


def test_beyond_a_cut_points_lie_still() -> None:
    node = Guide(SMALL, footage=with_insert(range(8, 13)))
    assert np.array_equal(guide(node, 8), guide(node, 12))


def test_after_an_inserted_shot_points_are_found_again() -> None:
    node = Register(RegisterParams(5, 2), with_insert(range(8, 11)))
    deformation = fresh_evaluator()(node, 12)[0]
    assert np.abs(deformation[16:-16, 24:-16, :2] - (-21, -7)).mean() < 0.1


def test_a_whip_pan_is_no_cut() -> None:
    footage = pan(range(4), step=(40, 0))
    assert is_cut(footage.pictures[0], footage.pictures[2]), "what alone would end the chain"
    deformation = fresh_evaluator()(Register(RegisterParams(0, 2), footage), 2)[0]
    assert np.abs(deformation[16:-16, 96:, :2] - (-80, 0)).mean() < 0.1


@pytest.mark.parametrize("step", [1, -1])
def test_vectors_are_followed_without_matching(step: int) -> None:
    """Pictures that say nothing: only vectors can tell how they move."""
    blank = Footage({t: Image(np.full((HEIGHT, WIDTH, 3), 0.2, np.float32)) for t in range(1, 13)})
    node = Register(RegisterParams(6, 2), blank, vectors=known(2.0, -1.0))
    deformation = fresh_evaluator()(node, 6 + 5 * step)
    assert deformation.shape == (1, HEIGHT, WIDTH, 3)
    assert np.allclose(deformation[0, ..., :2], np.array([10.0, -5.0]) * step, atol=1e-4)


def test_vectors_of_a_large_frame_are_scaled_with_it() -> None:
    large = Footage({t: Image(np.full((576, 1024, 3), 0.2, np.float32)) for t in (1, 2)})

    class Large(Known):
        def towards(self, offset: int) -> "Large":
            return Large(self.Params(self.params.x * offset, self.params.y * offset))

        def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> np.ndarray:
            return np.full((576, 1024, 2), (self.params.x, self.params.y), np.float32)

    node = Register(RegisterParams(1), large, vectors=Large(Known.Params(8, 4)))  # pyright: ignore[reportArgumentType]
    deformation = fresh_evaluator()(node, 2)
    assert deformation.shape == (1, 288, 512, 3) and np.allclose(deformation[0, ..., :2], (4, 2), atol=1e-4)


def test_a_proxy_has_the_same_guide() -> None:
    picture = texture(5)[:HEIGHT, :WIDTH]
    full = guide(Guide(SMALL, footage=Footage({5: Image(cv2.resize(picture, (4 * WIDTH, 4 * HEIGHT)))})), 5)
    proxy = guide(Guide(SMALL, footage=Footage({5: Image(picture.copy())})), 5)
    reduced = cv2.resize(full, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced - proxy).mean() < 0.01


@pytest.mark.parametrize(("height", "width"), [(288, 512), (1080, 1920), (1920, 1080), (7, 9), (1, 4000)])
def test_working_size(height: int, width: int) -> None:
    rows, columns = work_size(height, width)
    assert 1 <= rows <= height and 1 <= columns <= width and rows * columns <= 1.02 * 512 * 288 + columns


NODES: dict[str, Callable[[Any], Node]] = {
    "plain": lambda params: Guide(params, footage=pan()),
    "layers": lambda params: Guide(params, **dict(zip(("footage", "matte"), square(), strict=True))),
    "vectors": lambda params: Guide(params, footage=pan(), vectors=known(-3, -1)),
}


@pytest.mark.parametrize("name", NODES)
def test_any_order_gives_the_same_bits(name: str) -> None:
    node = NODES[name](dataclasses.replace(SMALL, interval=2))
    check_order(node, (1, 3, 5, 6, 11))


def test_every_parameter_changes_the_key() -> None:
    check_keys(NODES["plain"], SMALL, frame=11)


def test_keys_go_by_content() -> None:
    params = RegisterParams(5, 2)
    key = Register(params, pan()).key(11)
    assert Register(params, pan()).key(11) == key
    changed = pan()
    changed.pictures = {**changed.pictures, 7: still().pictures[1]}
    assert Register(params, changed).key(11) != key
    changed.pictures = {**pan().pictures, 12: still().pictures[1], 4: still().pictures[1], 8: still().pictures[1]}
    assert Register(params, changed).key(11) == key, "frames that are not read may not matter"


def _made(guide: Node) -> tuple[Node, ...]:
    """The guide and what it makes for itself."""
    points = guide.inputs["points"]
    return guide, points, points.inputs["registration"]


@pytest.mark.parametrize("name", NODES)
def test_reads_only_what_it_declares(name: str) -> None:
    for frame in (5, 6, 12, 1):
        node = NODES[name](SMALL)
        for made in _made(node):
            check_declared(made, frame)


def test_cancels() -> None:
    for made in _made(NODES["layers"](SMALL)):
        check_cancel(made, 9)


def test_a_frame_costs_few_registrations_when_anchors_exist() -> None:
    footage = pan(range(1, 25), step=(1, 0))
    evaluate = fresh_evaluator()
    node = Register(RegisterParams(1, 2), footage)
    evaluate(node, 23)
    before = set(footage.reads)
    footage.reads.clear()
    evaluate(node, 24)
    assert before and set(footage.reads) <= {24}, "all else is cached"


def test_ten_thousand_frames_are_neither_deep_nor_slow() -> None:
    """Counted, not timed: a key asks each anchor once, and evaluation needs a number of inputs that grows as log2."""
    picture = Image(np.zeros((8, 8, 3), np.float32))
    asked = []

    class Long(Footage):
        def key_extra(self, frame: int) -> str:
            asked.append(frame)
            return str(frame)

    node = Guide(GuideParams(1), footage=Long(dict.fromkeys(range(1, 10_001), picture)))
    assert len(node.key(10_000)) == 32
    assert len(asked) < 2600
    assert sum(map(len, _made(node)[-1].frames_needed(10_000).values())) < 20


@pytest.mark.slow
def test_a_far_frame_is_reached() -> None:
    footage = pan(range(1, 1001), step=(0, 0))
    assert np.isfinite(
        array_of(fresh_evaluator()(Guide(dataclasses.replace(SMALL, keyframe=1), footage=footage), 1000))
    ).all()


def test_a_sequence_on_twos() -> None:
    pictures = pan().pictures
    node = Guide(dataclasses.replace(SMALL, keyframe=1), footage=Footage({t: pictures[t] for t in range(1, 13, 2)}))
    check_order(node, (1, 7, 11))


def test_bad_input_is_told() -> None:
    for params in (
        GuideParams(1, spacing=0.5),
        GuideParams(1, sigma=0),
        GuideParams(1, interval=0),
    ):
        with pytest.raises(ParameterError):
            Guide(params, footage=still())
    pictures = {1: still().pictures[1], 2: Image(np.zeros((50, 60, 3), np.float32))}
    with pytest.raises(ShapeError, match="frames 1 and 2"):
        guide(Guide(GuideParams(1), footage=Footage(pictures)), 2)
