import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio
import pytest
from standing import Footage, check_cancel, check_declared, check_keys, check_order, fresh_evaluator

from fewstroke.engine.errors import CancelledError, FrameMissingError, ImageError, ParameterError, ShapeError
from fewstroke.engine.image import Alpha, Image
from fewstroke.nodes.motion import Cut, Flow, FlowParams, Vectors, VectorsParams, consistent, estimate_flow, is_cut
from fewstroke.nodes.warp import enlarged


def texture(seed: int, size: int = 200) -> np.ndarray:
    """Smooth random colour, scene-linear, 0 to about 2: (size, size, 3)."""
    noise = np.random.default_rng(seed).standard_normal((size, size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.exp(smooth / smooth.std() * 0.7 - 1).astype(np.float32)


def window(canvas: np.ndarray, x: int, y: int, height: int = 72, width: int = 96) -> Image:
    return Image(np.ascontiguousarray(canvas[y : y + height, x : x + width]))


def pan(frames: int = 6, step: tuple[int, int] = (3, -2)) -> Footage:
    """A camera over a flat picture: content moves by -step from frame to frame."""
    canvas = texture(0)
    return Footage({t: window(canvas, 40 + step[0] * t, 60 + step[1] * t) for t in range(1, frames + 1)})


@pytest.mark.parametrize("quality", ["fast", "medium"])
@pytest.mark.parametrize("offset", [1, -1, 3])
def test_flow_follows_a_translation(quality: str, offset: int) -> None:
    coarse = fresh_evaluator()(Flow(FlowParams(offset, quality), pan()), 3)
    assert coarse.shape == (36, 48, 2)
    flow = enlarged(coarse, (72, 96))
    assert flow.shape == (72, 96, 2) and flow.dtype == np.float32 and flow.flags.c_contiguous
    error = np.abs(flow - np.array([-3, 2]) * offset)[14:-14, 14:-14]
    assert np.median(error) < 0.1 and error.max() < 0.6


def test_flow_of_a_still_is_zero() -> None:
    picture = window(texture(1), 10, 10)
    assert np.abs(estimate_flow(picture, picture)).max() < 1e-3


@pytest.mark.parametrize("exposure", [1e-4, 0.3, 1e3])
def test_exposure_does_not_move_the_flow(exposure: float) -> None:
    first, second = pan().pictures[1], pan().pictures[2]
    flow = estimate_flow(first, second)
    flicker = estimate_flow(first, Image(second.pixels * np.float32(exposure)))
    both = estimate_flow(Image(first.pixels * np.float32(exposure)), Image(second.pixels * np.float32(exposure)))
    # The codes may round differently here and there; the flow may not care.
    for other in (flicker, both):
        assert np.abs(other - flow)[14:-14, 14:-14].max() < 0.05


def test_a_lamp_does_not_blind_it() -> None:
    frames = {t: picture.pixels.copy() for t, picture in pan().pictures.items()}
    for t in (1, 2):
        x, y = 60 - 3 * t, 30 + 2 * t
        frames[t][y : y + 4, x : x + 4] = 60000
    flow = estimate_flow(Image(frames[1]), Image(frames[2]))
    assert np.median(np.abs(flow - [-3, 2])[14:-14, 14:-14]) < 0.15


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (9, 9), (40, 13)])
@pytest.mark.parametrize("quality", ["fast", "medium"])
def test_any_size_works(shape: tuple[int, int], quality: str) -> None:
    picture = Image(texture(2, 300)[: shape[0], : shape[1]].copy())
    flow = estimate_flow(picture, picture, quality)
    assert flow.shape == (*shape, 2) and np.isfinite(flow).all()


def test_mattes_black_frames_and_alpha() -> None:
    black = Image(np.zeros((30, 40, 1), np.float32))
    assert not estimate_flow(black, black).any()
    first, second = pan().pictures[1], pan().pictures[2]
    a, b = (Image(np.dstack([p.pixels, p.pixels[:, :, :1]]), Alpha.PREMULTIPLIED) for p in (first, second))
    assert np.array_equal(estimate_flow(a, b), estimate_flow(first, second))


def test_threads_change_no_bit() -> None:
    first, second = (Image(texture(3, 333)[:, x : x + 300].copy()) for x in (10, 14))
    before = cv2.getNumThreads()
    try:
        flows = []
        for threads in (1, 2, 3, 16):
            cv2.setNumThreads(threads)
            flows.append(estimate_flow(first, second))
    finally:
        cv2.setNumThreads(before)
    assert all(np.array_equal(flow, flows[0]) for flow in flows)


@pytest.mark.parametrize("offset", [2, -1])
def test_standing(offset: int) -> None:
    node = Flow(FlowParams(offset), pan())
    check_keys(lambda params: Flow(params, pan()), FlowParams(offset), 3, offset=3, quality="fast")
    check_order(node, tuple(node.frames()))
    check_declared(node, 3)
    check_cancel(node, 3)


def test_frames_are_those_with_a_partner() -> None:
    pictures = {t: window(texture(0), t, t) for t in (1, 2, 3, 7, 8)}
    assert list(Flow(FlowParams(1), Footage(pictures)).frames()) == [1, 2, 7]
    assert list(Flow(FlowParams(-1), Footage(pictures)).frames()) == [2, 3, 8]


def test_another_pair_has_another_key() -> None:
    assert Flow(FlowParams(1), pan()).key(1) != Flow(FlowParams(1), pan(step=(2, 2))).key(1)
    assert Flow(FlowParams(1), pan()).key(1) != Flow(FlowParams(-1), pan()).key(2)


def test_bad_parameters_and_sizes_are_refused() -> None:
    with pytest.raises(ParameterError, match="offset"):
        Flow(FlowParams(0), pan())
    with pytest.raises(ParameterError, match="fast or medium"):
        Flow(FlowParams(1, "best"), pan())
    with pytest.raises(ShapeError, match="96x72"):
        estimate_flow(window(texture(0), 0, 0), window(texture(0), 0, 0, 30, 40))


def test_cancelled_while_estimating() -> None:
    picture = window(texture(0), 0, 0)

    def cancel() -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        estimate_flow(picture, picture, cancel=cancel)


def test_consistent_finds_what_is_hidden() -> None:
    # A square moves 8 px to the right over a still background and hides a strip of it.
    forward, backward = np.zeros((40, 60, 2), np.float32), np.zeros((40, 60, 2), np.float32)
    forward[10:30, 10:30, 0] = 8
    backward[10:30, 18:38, 0] = -8
    seen = consistent(forward, backward)
    assert not seen[10:30, 30:38].any()
    assert seen[10:30, 10:30].all() and seen[:, 38:].all() and seen[:10].all()


def test_nothing_outside_the_frame_is_consistent() -> None:
    forward = np.full((20, 20, 2), 5, np.float32)
    seen = consistent(forward, -forward)
    assert seen[:15, :15].all() and not seen[15:].any() and not seen[:, 15:].any()


def test_cuts() -> None:
    shot, other = list(pan().pictures.values()), window(texture(9), 50, 50)
    noise = np.random.default_rng(0).normal(0, 0.05, shot[0].pixels.shape).astype(np.float32)
    assert not any(is_cut(a, b) for a, b in pairwise(shot))
    assert not is_cut(shot[0], Image(shot[1].pixels * np.float32(1.4)))
    assert not is_cut(shot[0], Image(shot[1].pixels + noise))
    assert all(is_cut(picture, other) and is_cut(other, picture) for picture in shot)


def test_a_cut_lies_before_the_next_frame_there_is() -> None:
    pictures = {**pan(4).pictures, 7: window(texture(9), 50, 50), 9: window(texture(9), 51, 50)}
    node = Cut(Footage({t: picture for t, picture in pictures.items() if t != 3}))
    assert list(node.frames()) == [1, 2, 4, 7]
    evaluate = fresh_evaluator()
    assert [bool(evaluate(node, frame)) for frame in node.frames()] == [False, False, True, False]
    check_order(node, [1, 2, 4, 7])
    check_declared(node, 4)
    check_cancel(node, 4)


def test_cut_to_and_from_black_and_flashes() -> None:
    black, picture = Image(np.zeros((72, 96, 3), np.float32)), window(texture(0), 20, 20)
    assert not is_cut(black, black)
    assert is_cut(black, picture) and is_cut(picture, black)
    assert is_cut(picture, Image(picture.pixels * np.float32(5)))


# ---- vectors from renderers

BLENDER = ["ViewLayer.Vector.X", "ViewLayer.Vector.Y", "ViewLayer.Vector.Z", "ViewLayer.Vector.W"]
NUKE = ["forward.u", "forward.v", "backward.u", "backward.v"]


def write_passes(save, channels: list[str], frames: int = 5, **options) -> Path:
    """A camera whose content moves 3 px right and 2 px down from every frame to the next, in pixels with y up."""
    to_next, to_previous = (3, -2), (-3, 2)
    # Blender's Z and W point from the next frame to this one; so they are equal to X and Y where motion is steady.
    values = (*to_previous, *to_previous) if channels[0].endswith("X") else (*to_next, *to_previous)
    pixels = np.tile(np.array(values, np.float32), (6, 8, 1))
    paths = [save(f"pass.{t:04d}.exr", pixels, "float", channels, **options) for t in range(1, frames + 1)]
    return paths[0].parent / "pass.####.exr"


@pytest.mark.parametrize("channels", [BLENDER, NUKE, [f"rgba.{name}" for name in NUKE]])
@pytest.mark.parametrize("offset", [1, -1, 2, -2])
def test_vectors_are_flow(save, channels: list[str], offset: int) -> None:
    path = write_passes(save, channels)
    flow = fresh_evaluator()(Vectors(VectorsParams(str(path), offset=offset)), 3)
    assert flow.dtype == np.float32 and np.array_equal(flow, np.tile([3 * offset, 2 * offset], (6, 8, 1)))


def test_vectors_where_each_layer_is_a_part(tmp_path: Path) -> None:
    spec = oiio.ImageSpec(8, 6, 4, oiio.FLOAT)
    specs = []
    for part, channels in (("V.Combined", "RGBA"), ("V.Vector", "XYZW")):
        specs.append(spec.copy())
        specs[-1].channelnames = tuple(channels)
        specs[-1]["oiio:subimagename"] = part
    output = oiio.ImageOutput.create("x.exr")
    assert output
    assert output.open(str(tmp_path / "p.1.exr"), tuple(specs))
    assert output.write_image(np.ones((6, 8, 4), np.float32))
    assert output.open(str(tmp_path / "p.1.exr"), specs[1], "AppendSubimage")
    assert output.write_image(np.tile(np.array([-3, 2, -3, 2], np.float32), (6, 8, 1))) and output.close()
    flow = fresh_evaluator()(Vectors(VectorsParams(str(tmp_path / "p.#.exr"))), 1)
    assert np.array_equal(flow[0, 0], [3, 2])


def test_vectors_fill_the_display_window(save) -> None:
    path = write_passes(save, NUKE, window=(-1, -2, 12, 10))
    flow = fresh_evaluator()(Vectors(VectorsParams(str(path))), 1)
    assert flow.shape == (10, 12, 2) and np.array_equal(flow[2, 1], [3, 2]) and not flow[:2].any()


def test_vectors_choose_the_layer(save) -> None:
    layers = [f"{layer}.{name}" for layer in ("Near", "Far") for name in NUKE]
    pixels = np.tile(np.array([1, 0, 0, 0, 5, 0, 0, 0], np.float32), (6, 8, 1))
    path = str(save("v.1.exr", pixels, "float", layers).parent / "v.#.exr")
    found = [fresh_evaluator()(Vectors(VectorsParams(path, layer)), 1)[0, 0, 0] for layer in ("", "near", "Far")]
    assert found[1:] == [1, 5] and found[0] in (1, 5)
    with pytest.raises(ImageError, match=r"frame 1 \(v.1.exr\) has no motion vectors in Middle"):
        fresh_evaluator()(Vectors(VectorsParams(path, "Middle")), 1)


def test_vectors_standing(save) -> None:
    params = VectorsParams(str(write_passes(save, BLENDER)), offset=2)
    node = Vectors(params)
    assert list(node.frames()) == [1, 2, 3] and list(node.towards(-1).frames()) == [2, 3, 4, 5]
    key = node.key(1)
    check_order(node, [1, 2, 3])
    check_cancel(node, 1)
    assert len({key, node.towards(1).key(1), node.towards(-1).key(3), Vectors(replace(params, layer="V")).key(1)}) == 4
    # The key goes by what the files hold, not by their names; only the passes on the way count.
    folder = Path(params.path).parent
    other = Vectors(replace(params, path=str(folder / "copy.####.exr")))
    for t in (1, 2, 3):
        shutil.copy(folder / f"pass.{t:04d}.exr", folder / f"copy.{t:04d}.exr")
    assert other.key(1) == key
    save("copy.0002.exr", np.zeros((6, 8, 4)), "float", BLENDER)
    assert other.key(1) != key


def test_vectors_refuse_bad_files(save) -> None:
    path = write_passes(save, BLENDER)
    with pytest.raises(ParameterError, match="offset"):
        Vectors(VectorsParams(str(path), offset=0))
    with pytest.raises(FrameMissingError):
        fresh_evaluator()(Vectors(VectorsParams(str(path))), 99)
    broken = path.parent / "pass.0001.exr"
    broken.write_bytes(broken.read_bytes()[:-60])
    with pytest.raises(ImageError, match=r"frame 1 \(pass.0001.exr\)"):
        fresh_evaluator()(Vectors(VectorsParams(str(path))), 1)
    broken.write_bytes(b"no picture at all")
    with pytest.raises(ImageError, match="damaged"):
        fresh_evaluator()(Vectors(VectorsParams(str(path))), 1)
    save("pass.0002.exr", np.full((6, 8, 4), np.nan), "float", BLENDER)
    with pytest.raises(ImageError, match="NaN"):
        fresh_evaluator()(Vectors(VectorsParams(str(path))), 2)
    save("pass.0003.exr", np.zeros((6, 8, 3)), "float", ["R", "G", "B"])
    with pytest.raises(ImageError, match="Vector pass"):
        fresh_evaluator()(Vectors(VectorsParams(str(path))), 3)
