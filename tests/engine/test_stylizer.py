"""The stylizer: however a frame is cut up, the picture is one."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from networks import facts, random_generator

from fewstroke.engine import sessions
from fewstroke.engine.color import encode
from fewstroke.engine.errors import CancelledError, ModelError, ParameterError, ShapeError
from fewstroke.engine.export import export_model
from fewstroke.engine.image import Alpha, Image
from fewstroke.engine.sessions import choose_providers, open_session
from fewstroke.engine.stylizer import Stylizer

Models = Callable[..., bytes]


def picture(rng: np.random.Generator, height: int, width: int) -> Image:
    pixels = rng.random((height, width, 3), np.float32) ** 2
    pixels[height // 2, width // 2] = 50  # a highlight
    return Image(pixels)


def difference(a: Image, b: Image) -> float:
    return float(np.abs(encode(a.pixels) - encode(b.pixels)).max())


@pytest.mark.parametrize("preset", ["fast", "paper"])
@pytest.mark.parametrize("size", [(201, 303), (1, 1), (3, 130), (129, 64)])
def test_tiles_equal_the_whole_frame(
    models: Models, rng: np.random.Generator, preset: str, size: tuple[int, int]
) -> None:
    image = picture(rng, *size)
    whole = Stylizer(models(preset), tile=4096)(image)
    tiled = Stylizer(models(preset), tile=64)(image)
    assert whole.pixels.shape == image.pixels.shape
    assert difference(whole, tiled) < 1e-5


@pytest.mark.parametrize(("blocks", "filters"), [(1, 8), (5, 24)])
def test_tiles_equal_the_whole_frame_whatever_the_trunk(rng: np.random.Generator, blocks: int, filters: int) -> None:
    generator, image = random_generator("fast", 3, blocks, filters), picture(rng, 150, 203)
    model = export_model(generator, facts(generator))
    assert difference(Stylizer(model, tile=4096)(image), Stylizer(model, tile=64)(image)) < 1e-5


def test_inside_the_mask_is_the_whole_frame_and_outside_the_footage(models: Models, rng: np.random.Generator) -> None:
    stylizer, image = Stylizer(models()), picture(rng, 203, 301)
    mask = np.zeros((203, 301), np.float32)
    mask[20:60, 30:80] = 1
    mask[150:190, 250:301] = 0.25
    whole, masked = stylizer(image), stylizer(image, mask=mask)
    assert np.array_equal(masked.pixels[mask == 0], image.pixels[mask == 0])
    assert difference(Image(masked.pixels[20:60, 30:80]), Image(whole.pixels[20:60, 30:80])) < 1e-5
    soft = image.pixels + 0.25 * (whole.pixels - image.pixels)
    assert np.allclose(masked.pixels[mask == 0.25], soft[mask == 0.25], atol=1e-5)


def test_an_empty_mask_changes_nothing(models: Models, rng: np.random.Generator) -> None:
    stylizer, image = Stylizer(models()), picture(rng, 40, 50)
    assert np.array_equal(stylizer(image, mask=np.zeros((40, 50), np.float32)).pixels, image.pixels)


@pytest.mark.parametrize("alpha", [Alpha.STRAIGHT, Alpha.PREMULTIPLIED])
def test_alpha_passes_and_colour_is_painted_straight(models: Models, rng: np.random.Generator, alpha: Alpha) -> None:
    straight = picture(rng, 60, 70)
    coverage = np.ones((60, 70, 1), np.float32)
    coverage[:, :30], coverage[:, :10] = 0.5, 0
    premultiplied = alpha is Alpha.PREMULTIPLIED
    rgb = straight.pixels * np.where(coverage > 0, coverage, 1) if premultiplied else straight.pixels
    image = Image(np.concatenate([rgb, coverage], axis=2), alpha)
    stylizer = Stylizer(models())
    got, expected = stylizer(image), stylizer(straight).pixels
    assert got.alpha is alpha
    assert np.array_equal(got.pixels[..., 3:], coverage)
    assert np.array_equal(got.pixels[:, :10], image.pixels[:, :10])  # nothing there to paint
    inside = expected[:, 10:] * coverage[:, 10:] if premultiplied else expected[:, 10:]
    assert np.allclose(got.pixels[:, 10:, :3], inside, rtol=1e-4, atol=1e-5)


def test_the_network_may_look_at_another_picture_than_it_paints_into(models: Models, rng: np.random.Generator) -> None:
    stylizer, image, clean = Stylizer(models()), picture(rng, 64, 64), picture(rng, 64, 64)
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    got = stylizer(image, source=clean, mask=mask)
    assert np.array_equal(got.pixels[mask == 0], image.pixels[mask == 0])
    assert np.allclose(got.pixels[mask == 1], stylizer(clean).pixels[mask == 1], atol=1e-5)


def test_a_frame_may_be_shown_in_another_light_and_is_painted_in_its_own(
    models: Models, rng: np.random.Generator
) -> None:
    stylizer, image = Stylizer(models()), picture(rng, 60, 80)
    seen, paint = np.array([4, 2, 0.5], np.float32), np.array([2, 1, 0.5], np.float32)
    light, dark = np.stack([seen, paint])[:, None, None], image.with_pixels(image.pixels / seen)
    assert np.array_equal(stylizer(dark, light=light).pixels, stylizer(image).pixels / paint)
    mask = np.zeros((60, 80), np.float32)
    mask[20:40, 30:60], mask[20:40, 60:] = 1, 0.5
    painted, whole = stylizer(dark, light=light, mask=mask).pixels, stylizer(dark, light=light).pixels
    assert np.array_equal(painted[:20], dark.pixels[:20]), "outside, the footage as it is"
    np.testing.assert_allclose(painted[20:40, 30:60], whole[20:40, 30:60], atol=1e-5)
    np.testing.assert_allclose(painted[20:40, 60:], (whole + dark.pixels)[20:40, 60:] / 2, atol=1e-5)
    two = stylizer.batch([image, dark], lights=[np.ones((2, 5, 7, 3), np.float32), light])
    np.testing.assert_allclose(two[0].pixels / paint, two[1].pixels, atol=1e-6)
    shade = np.linspace(0.5, 2, 80, dtype=np.float32)[None, :, None] * np.ones((60, 1, 3), np.float32)
    shaded, even = image.with_pixels(image.pixels / shade), np.ones_like(shade)
    np.testing.assert_allclose(
        stylizer(shaded, light=np.stack([shade, even])).pixels, stylizer(image).pixels, atol=1e-5
    )


@pytest.mark.parametrize("channels", [3, 9])
def test_threads_and_batches_give_the_same_bits(models: Models, rng: np.random.Generator, channels: int) -> None:
    images = [picture(rng, 90, 120) for _ in range(4)]
    guides = [rng.random((90, 120, channels - 3), np.float32) for _ in images] if channels > 3 else None

    def paint(stylizer: Stylizer, index: int) -> bytes:
        return stylizer(images[index], guide=None if guides is None else guides[index]).pixels.tobytes()

    expected = [paint(Stylizer(models("fast", channels), threads=1), i) for i in range(4)]
    for threads in (1, 2, 3):
        stylizer = Stylizer(models("fast", channels), threads=threads)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(partial(paint, stylizer), range(4))) == expected
        assert [result.pixels.tobytes() for result in stylizer.batch(images, guides=guides)] == expected


def test_guide_channels_reach_the_network(models: Models, rng: np.random.Generator) -> None:
    stylizer, image = Stylizer(models("fast", 6), tile=32), picture(rng, 50, 60)
    guide = np.linspace(0, 1, 60, dtype=np.float32)[None, :, None].repeat(50, 0).repeat(3, 2)
    a, b = stylizer(image, guide=guide), stylizer(image, guide=1 - guide)
    assert difference(a, b) > 1e-3
    assert difference(a, Stylizer(models("fast", 6), tile=4096)(image, guide=guide)) < 1e-5


def test_what_does_not_fit_is_refused(models: Models, rng: np.random.Generator) -> None:
    image = picture(rng, 40, 50)
    with pytest.raises(ShapeError, match="needs 3 guide channels but got 0"):
        Stylizer(models("fast", 6))(image)
    with pytest.raises(ShapeError, match="mask is 40x50 but the footage is 50x40"):
        Stylizer(models())(image, mask=np.ones((50, 40), np.float32))
    with pytest.raises(ParameterError, match="16 pixels"):
        Stylizer(models(), tile=4)


def test_values_stay_finite_whatever_goes_in(models: Models) -> None:
    extremes = np.array([0, -0.0, -65504, 65504, 3e38, -3e38, 1e-40], np.float32)
    pixels = np.broadcast_to(extremes[:, None, None], (7, 16, 3)).copy()
    assert np.isfinite(Stylizer(models())(Image(pixels)).pixels).all()


@pytest.mark.slow
def test_a_run_is_cancelled_within_a_tile(models: Models, rng: np.random.Generator) -> None:
    stylizer, image = Stylizer(models("paper"), tile=1024), picture(rng, 512, 1024)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()

    def cancel() -> None:
        if stop.is_set():
            raise CancelledError

    start = time.monotonic()
    with pytest.raises(CancelledError):
        stylizer(image, cancel=cancel)  # takes seconds when it is left alone
    assert time.monotonic() - start < 5


EIGHT_K = """
import re, sys, numpy as np
from pathlib import Path
from fewstroke.engine.export import export_model
from fewstroke.engine.image import Alpha, Image
from fewstroke.engine.stylizer import Stylizer
stylizer = Stylizer(sys.argv[1])
pixels = np.zeros((4320, 7680, 4), np.float32)
pixels[..., 3] = 1
pixels[::7, ::5, 0] = 0.5
painted = stylizer(Image(pixels, Alpha.PREMULTIPLIED))
assert painted.pixels.shape == pixels.shape
# Not getrusage, whose figure a process inherits from the one that started it
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
"""


@pytest.mark.slow
def test_an_8k_frame_stays_under_two_and_a_half_gigabytes(models: Models, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(models())
    done = subprocess.run([sys.executable, "-c", EIGHT_K, str(model)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2.5e9


def test_cpu_is_always_there_and_what_is_not_there_is_named() -> None:
    assert choose_providers()[-1] == "CPUExecutionProvider"
    assert choose_providers("cpu") == ["CPUExecutionProvider"]
    with pytest.raises(ParameterError, match=r"'coreml' is not available.*there is cpu"):
        choose_providers("coreml")
    with pytest.raises(ParameterError, match="no device 'gpu'"):
        choose_providers("gpu")


def test_a_card_that_cannot_be_used_is_said_or_done_without(
    models: Models, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a farm where one machine has no card, but all have the package."""
    model, image = models("fast"), picture(rng, 50, 60)
    expected = Stylizer(model, device="cpu")(image).pixels
    monkeypatch.setattr(sessions, "choose_providers", lambda _: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(sessions, "_load_cuda", lambda: None)
    with pytest.raises(ParameterError, match=r"'cuda' cannot be used here.*--device cpu"):
        Stylizer(model, device="cuda", threads=5)  # another session for the number of threads
    assert np.allclose(Stylizer(model, threads=5)(image).pixels, expected, atol=1e-5)


@pytest.mark.parametrize("channels", [3, 9])
def test_the_model_that_cards_are_given_paints_the_same(
    models: Models, channels: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pictures lie otherwise in memory. On the processor, as on a card."""
    model = models("fast", channels)
    guide = rng.random((140, 156, 6), np.float32) if channels == 9 else None
    mask = (rng.random((140, 156)) > 0.99).astype(np.float32)
    images = [Image(rng.random((140, 156, 4), np.float32), Alpha.STRAIGHT), picture(rng, 140, 156)]
    usual = Stylizer(model, device="cpu", threads=1, tile=64)
    expected = [usual(image, guide=guide, mask=m).pixels for image in images for m in (mask, None)]
    monkeypatch.setattr(sessions, "_NVIDIA", ("CPUExecutionProvider",))
    monkeypatch.setattr(sessions, "_load_cuda", lambda: None)
    monkeypatch.setattr(sessions, "_page_locked", sessions._empty)
    given = Stylizer(model, device="cpu", threads=3, tile=64)  # another session for the number of threads
    assert given._session.on_card
    assert given.info == usual.info
    found = [given(image, guide=guide, mask=m).pixels for image in images for m in (mask, None)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    images = images[1:] * 2
    masks = [mask, mask[::-1].copy()]
    guides = None if guide is None else [guide] * 2
    batches = [each.batch(images, guides=guides, masks=masks) for each in (given, usual)]
    for one, other in zip(*batches, strict=True):
        np.testing.assert_allclose(one.pixels, other.pixels, atol=1e-5)


@pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="no onnxruntime-gpu")
@pytest.mark.parametrize(("preset", "channels"), [("fast", 9), ("paper", 3)])
def test_a_card_paints_what_the_processor_paints(
    models: Models, preset: str, channels: int, rng: np.random.Generator
) -> None:
    """Whole, in tiles, masked and as a batch."""
    model = models(preset, channels)
    image, guide = Image(rng.random((150, 203, 3), np.float32)), rng.random((150, 203, 6), np.float32)
    guides = [guide, guide[::-1].copy()] if channels == 9 else None
    mask = (rng.random((150, 203)) > 0.999).astype(np.float32)
    cpu, cuda, tiled = (Stylizer(model, device=d, tile=t) for d, t in (("cpu", 1024), ("cuda", 1024), ("cuda", 64)))
    expected = cpu.batch([image, image], guides=guides, masks=[mask, mask + 1])
    for stylizer in (cuda, tiled):
        for one, other in zip(
            stylizer.batch([image, image], guides=guides, masks=[mask, mask + 1]), expected, strict=True
        ):
            np.testing.assert_allclose(encode(one.pixels), encode(other.pixels), atol=1e-4)


def test_sessions_are_shared_and_loaded_once(models: Models) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_session(models(), threads=1), range(16)))
    assert len({id(session) for session in opened}) == 1


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08" * 40])
def test_what_is_no_model_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "shot.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"shot\.onnx is not a model .*fewstroke train"):
        Stylizer(path)
    with pytest.raises(ModelError, match="cannot be read"):
        Stylizer(tmp_path / "missing.onnx")
