"""Stylize, the shot around it, and graphs on disk: order, processes and machines change no pixel."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
from networks import facts, random_generator
from standing import Footage, check_declared, check_keys, check_order, fresh_evaluator

from fewstroke.engine import color
from fewstroke.engine.errors import CancelledError, GraphError, ImageError, ModelError, ShapeError
from fewstroke.engine.export import export_model
from fewstroke.engine.image import Image
from fewstroke.nodes import (
    GuideParams,
    Painting,
    PrefilterParams,
    Read,
    ReadParams,
    Shot,
    Stylize,
    StylizeParams,
    Write,
    WriteParams,
    as_trained,
    load_graph,
    load_keyframes,
    render_frames,
    save_graph,
    stylized,
    with_exemplars,
)

Save = Callable[..., Path]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "shot.onnx"
    generator = random_generator()
    path.write_bytes(export_model(generator, facts(generator)))
    return path


@pytest.fixture
def plate(save: Save, rng: np.random.Generator) -> str:
    """Six frames, 61x45, half float, of a picture that moves."""
    canvas = rng.random((12, 16, 3)).repeat(5, 0).repeat(5, 1)
    for frame in range(1, 7):
        save(f"plate.{frame:04d}.exr", canvas[:45, frame : frame + 61], "half")
    return str(save("unused.exr", canvas, "half").parent / "plate.####.exr")


def pictures(rng: np.random.Generator, count: int = 4) -> dict[int, Image]:
    return {frame: Image(rng.random((45, 61, 3), np.float32)) for frame in range(1, count + 1)}


def test_the_standing_promises(model: Path, rng: np.random.Generator) -> None:
    footage = Footage(pictures(rng))

    def make(params: StylizeParams) -> Stylize:
        return Stylize(params, footage=footage, threads=1)

    node = make(StylizeParams(str(model)))
    check_order(node, [1, 2, 3, 4])
    check_declared(node, 2)
    other = model.with_name("other.onnx")
    generator = random_generator("fast")
    other.write_bytes(export_model(generator, facts(generator, name="other")))
    check_keys(make, StylizeParams(str(model)), 2, model=str(other))


def test_the_key_follows_the_models_content_not_its_place(model: Path, rng: np.random.Generator) -> None:
    footage = Footage(pictures(rng))
    moved = model.with_name("moved.onnx")
    moved.write_bytes(model.read_bytes())
    keys = {Stylize(StylizeParams(str(path)), footage=footage).key(1) for path in (model, moved)}
    assert len(keys) == 1


def test_cancel(model: Path, rng: np.random.Generator) -> None:
    """At once here; within a tile in the stylizer's own test. How often it asks depends on how long the run takes."""
    node = Stylize(StylizeParams(str(model)), footage=Footage(pictures(rng)), threads=1)
    asked = []

    def cancel() -> None:
        asked.append(1)
        if len(asked) == 4:  # the evaluator asks for the node and for its input, the stylizer for each piece
            raise CancelledError

    tiled = Stylize(StylizeParams(str(model)), footage=node.inputs["footage"], threads=1, tile=16)
    with pytest.raises(CancelledError):
        fresh_evaluator()(tiled, 1, cancel)


def test_a_matte_of_another_size_names_the_frame(model: Path, rng: np.random.Generator) -> None:
    matte = Footage({1: Image(np.ones((10, 10, 1), np.float32))})
    node = Stylize(StylizeParams(str(model)), footage=Footage(pictures(rng)), matte=matte)
    with pytest.raises(ImageError, match="frame 1: the mask is 10x10 but the footage is 61x45"):
        fresh_evaluator()(node, 1)


RENDER = """
import sys
from fewstroke.nodes import load_graph, render_frames
from pathlib import Path
for event in render_frames(load_graph(Path(sys.argv[1])), map(int, sys.argv[2].split(",")), jobs=int(sys.argv[3])):
    pass
"""


@pytest.mark.slow
def test_shuffled_parallel_and_in_processes_is_in_order_bit_for_bit(model: Path, plate: str, tmp_path: Path) -> None:
    shot = Shot(plate, prefilter=PrefilterParams(), guide=GuideParams(keyframe=2))
    guided = tmp_path / "guided.onnx"
    generator = random_generator("fast", 9)
    guided.write_bytes(export_model(generator, facts(generator, 9)))

    def output(folder: str) -> Write:
        painted = stylized(shot, str(guided), steadiness=0.5, threads=1)
        return Write(WriteParams(str(tmp_path / folder / "out.####.exr")), image=painted)

    for _ in render_frames(output("ordered"), range(1, 7), evaluator=fresh_evaluator()):
        pass
    expected = [path.read_bytes() for path in sorted((tmp_path / "ordered").iterdir())]
    assert len(expected) == 6

    frames = list(range(1, 7))
    random.Random(3).shuffle(frames)
    for _ in render_frames(output("shuffled"), frames, jobs=3, evaluator=fresh_evaluator()):
        pass
    assert [path.read_bytes() for path in sorted((tmp_path / "shuffled").iterdir())] == expected

    save_graph(output("processes"), tmp_path / "graph.json")
    running = [
        subprocess.Popen([sys.executable, "-c", RENDER, str(tmp_path / "graph.json"), part, "2"])
        for part in ("5,1,4", "2,6,3,1")
    ]
    assert [process.wait() for process in running] == [0, 0]
    assert [path.read_bytes() for path in sorted((tmp_path / "processes").iterdir())] == expected


def test_a_graph_comes_back_from_disk_the_same(model: Path, plate: str, tmp_path: Path) -> None:
    shot = Shot(plate, prefilter=PrefilterParams(radius=1), guide=GuideParams(keyframe=1))
    generator = random_generator("fast", 9)
    model.write_bytes(export_model(generator, facts(generator, 9)))
    write = Write(
        WriteParams(str(tmp_path / "a b" / "out.####.exr"), attributes=(("artist", "me"),)),
        image=stylized(shot, str(model), steadiness=0.5),
    )
    save_graph(write, tmp_path / "graph.json")
    loaded = load_graph(tmp_path / "graph.json")
    assert [loaded.key(frame) for frame in (1, 3)] == [write.key(frame) for frame in (1, 3)]
    text = (tmp_path / "graph.json").read_text()
    assert str(tmp_path) not in text, "paths are relative to the file"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stylize1": {"inputs": {"footage": "stylize1"}}}, "stylize1 -> stylize1 is a cycle"),
        ({"read1": {"params": {"path": "plate.####.exr", "gamma": 2}}}, "unknown parameter 'gamma'"),
        ({"stylize1": {"inputs": {"footage": "nothing"}}}, "no node 'nothing'"),
        ({"stylize1": {"inputs": {}}}, "misses the link to 'footage'"),
        ({"stylize1": {"inputs": {"footage": "read1", "mask": "read1"}}}, "unknown input 'mask'"),
        ({"read1": {"type": "Reader"}}, "type 'Reader'"),
    ],
)
def test_a_wrong_graph_is_one_sentence(
    model: Path, plate: str, tmp_path: Path, change: dict[str, dict[str, object]], message: str
) -> None:
    path = tmp_path / "graph.json"
    save_graph(Stylize(StylizeParams(str(model)), footage=Read(ReadParams(plate))), path)
    file = json.loads(path.read_text())
    for name, values in change.items():
        file["nodes"][name].update(values)
    path.write_text(json.dumps(file))
    with pytest.raises(GraphError, match=message) as caught:
        load_graph(path)
    assert "graph.json" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_graph_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    with pytest.raises(GraphError, match="cannot be read"):
        load_graph(path)
    path.write_text("{")
    with pytest.raises(GraphError, match="no JSON"):
        load_graph(path)


# Keyframes


def test_footage_and_painting_meet_in_one_encoding(save: Save) -> None:
    """ACEScg half float footage and an sRGB PNG of one and the same grey are one and the same grey to the network."""
    save("plate.0007.exr", np.full((32, 32, 3), 0.18), "half")
    paint = save("paint.png", np.full((32, 32, 3), 118 / 255), "uint8")
    shot = Shot(str(paint.parent / "plate.####.exr"), footage_space="ACEScg")
    (key,) = load_keyframes(shot, [Painting(7, str(paint))], paint_space="sRGB")
    assert np.allclose(key.source, key.target, atol=2e-3)
    assert key.source[0, 0, 0] == pytest.approx(float(color.encode(np.array([0.18], np.float32))[0]), abs=1e-3)


def test_masks_alpha_and_mattes_say_what_counts(save: Save) -> None:
    alpha = np.zeros((32, 32, 1))
    alpha[:, :16] = 1
    save("plate.0001.png", np.full((32, 32, 3), 0.5), "uint8")
    save("matte.0001.png", np.pad(np.ones((8, 32, 1)), ((0, 24), (0, 0), (0, 0))), "uint8")
    paint = save("paint.png", np.concatenate([np.full((32, 32, 3), 0.5), alpha], 2), "uint8")
    mask = save("mask.png", np.pad(np.ones((32, 4, 1)), ((0, 0), (0, 28), (0, 0))), "uint8")
    shot = Shot(str(paint.parent / "plate.####.png"))
    (key,) = load_keyframes(shot, [Painting(1, str(paint))])
    assert key.mask.sum() == 32 * 16
    (key,) = load_keyframes(shot, [Painting(1, str(paint), str(mask))])
    assert key.mask.sum() == 32 * 4
    matted = replace(shot, matte=str(paint.parent / "matte.####.png"))
    (key,) = load_keyframes(matted, [Painting(1, str(paint), str(mask))])
    assert key.mask.sum() == 8 * 4


def test_paintings_that_are_whole_are_exemplars(save: Save) -> None:
    for frame in (1, 2, 3):
        save(f"plate.{frame:04d}.png", np.full((32, 32, 3), 0.5), "uint8")
    whole = str(save("whole.png", np.full((32, 32, 3), 0.5), "uint8"))
    half = np.concatenate([np.full((32, 32, 3), 0.5), np.tri(32)[..., None]], 2)
    partly = str(save("half.png", half, "uint8"))
    shot = Shot(str(Path(whole).parent / "plate.####.png"), guide=GuideParams(keyframe=1))
    paintings = [Painting(3, whole), Painting(1, whole), Painting(2, partly)]
    assert with_exemplars(shot, paintings, "fast").exemplars == (1, 3)
    assert with_exemplars(shot, [Painting(1, partly)], "fast").exemplars == (1,), "better than none"
    assert with_exemplars(shot, paintings, "paper").exemplars == ()
    assert with_exemplars(replace(shot, guide=None), paintings, "fast").exemplars == ()


def test_a_keyframe_that_does_not_fit_names_frame_and_file(save: Save) -> None:
    save("plate.0001.png", np.full((32, 32, 3), 0.5), "uint8")
    small = save("small.png", np.full((16, 32, 3), 0.5), "uint8")
    black = save("black.png", np.zeros((32, 32, 1)), "uint8")
    paint = save("paint.png", np.full((32, 32, 3), 0.5), "uint8")
    shot = Shot(str(paint.parent / "plate.####.png"))
    with pytest.raises(ShapeError, match=r"painting of keyframe 1 .*small\.png.* is 32x16 but the footage is 32x32"):
        load_keyframes(shot, [Painting(1, str(small))])
    with pytest.raises(ImageError, match=r"mask of keyframe 1 .*black\.png.* is empty"):
        load_keyframes(shot, [Painting(1, str(paint), str(black))])
    with pytest.raises(ImageError, match=r"frame 9 .*not on disk"):
        load_keyframes(shot, [Painting(9, str(paint))])


def test_a_model_says_how_its_shot_was_seen(plate: str) -> None:
    shot = Shot(plate, "ACEScg", prefilter=PrefilterParams(radius=3), guide=GuideParams(keyframe=2, seed=5))
    info = replace(facts(random_generator()), **shot.facts())
    assert as_trained(info, plate) == replace(shot, exemplars=(2,)), "the guide's keyframe, unless others are named"
    assert replace(shot, exemplars=(4, 1)).facts()["exemplars"] == (1, 4), "as they lie in the ST map"
    for exemplars in ((1, 4), ()):
        shot = replace(shot, exemplars=exemplars)
        info = replace(info, **shot.facts())
        assert as_trained(info, plate) == shot
        assert len(info.channels) == (9 if exemplars else 6)
    for followed in ({"matte": "m.####.exr"}, {"vectors": "v.####.exr"}):
        other = replace(shot, **followed)
        info = replace(info, **other.facts())
        assert as_trained(info, plate, footage_space="ACEScg", **followed) == other
        with pytest.raises(ModelError, match=f"give the shot's {next(iter(followed))}"):
            as_trained(info, plate)


def test_identity_of_colour_outside_the_mask_through_files(
    model: Path, save: Save, load: Callable[[Path], np.ndarray], tmp_path: Path
) -> None:
    """HDR half float values outside the matte come back bit for bit, and keep the file's metadata."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(1, 20, (40, 40, 3)).astype(np.float16).astype(np.float32)
    save("plate.0001.exr", pixels, "half", cameraName="camera A")
    save("matte.0001.exr", np.pad(np.ones((8, 40, 1)), ((0, 32), (0, 0), (0, 0))), "half")
    shot = Shot(str(tmp_path / "plate.####.exr"), matte=str(tmp_path / "matte.####.exr"))
    write = Write(WriteParams(str(tmp_path / "out.####.exr")), image=stylized(shot, str(model)))
    list(render_frames(write, [1]))
    written = load(tmp_path / "out.0001.exr")
    assert np.array_equal(written[8:], pixels[8:])
    assert not np.array_equal(written[:8], pixels[:8])
    assert oiio.ImageBuf(str(tmp_path / "out.0001.exr")).spec().get_string_attribute("cameraName") == "camera A"
