"""The prior: what `fast` knows of painting before it has seen the painting it is to learn.

    python install/prior.py [--scenes 48] [--steps 15000] [--out engine/prior.safetensors]

makes scenes, paints each in a style of its own, learns all of them together as key frames of one shot, and keeps the
weights; engine/prior.py says what for. Everything is drawn here, from seeds: no footage, no painting of anybody, and
none of the sequences that the product is judged by. It takes a quarter of an hour of one core, most of it training.

A scene is a wall with blobs and boards before it, each with a colour, a texture and some shading. Its painting has the
same outlines, but colours that have nothing to do with those of the plate, strokes of one brush in patches of one
direction each, accents, often ink along the outlines, and a hand that is not exact.
"""

import argparse
import colorsys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from fewstroke.engine.checkpoint import write_atomically
from fewstroke.engine.config import NetworkConfig, TrainConfig
from fewstroke.engine.keyframe import Keyframe
from fewstroke.engine.prior import PRIOR, packed
from fewstroke.engine.train import Budget, Training
from fewstroke.nodes.guide import GuideParams
from fewstroke.nodes.prefilter import PrefilterParams
from fewstroke.nodes.shot import Painting, Shot, load_keyframes
from fewstroke.nodes.stmap import on_page

HEIGHT, WIDTH = 288, 512
RATE = 4e-4
"""Adam's learning rate. With five times as much, towards that of a single shot, what many had taught was worth less to
one."""
SUBPIXEL = 4
"""Bits after the point of the outlines that OpenCV draws."""


@dataclass(frozen=True)
class Style:
    """How one scene is painted. Lengths are pixels, all else 0..1.

    length, width  of a stroke
    strength       how far strokes differ in brightness
    saturation     of the colours
    light          how far the painter kept the plate's light and shade, as a power
    ink            colour of the outlines, (3,); None: there are none
    thickness      of the outlines
    slips          standard deviation of how far the hand was off
    """

    length: float
    width: float
    strength: float
    saturation: float
    light: float
    ink: np.ndarray | None
    thickness: int
    slips: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Style":
        return cls(
            length=rng.uniform(5, 40),
            width=rng.uniform(0.5, 2.5),
            strength=rng.uniform(0.05, 0.3),
            saturation=rng.uniform(0.3, 1),
            light=rng.uniform(0.2, 1),
            ink=color(rng.random(), rng.uniform(0, 0.7), rng.uniform(0, 0.25)) if rng.random() < 0.65 else None,
            thickness=int(rng.integers(1, 4)),
            slips=rng.uniform(0, 1.2),
        )


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A plate and its painting: float32 (HEIGHT, WIDTH, 3) each, sRGB, 0..1."""
    rng = np.random.default_rng(seed)
    style = Style.random(rng)
    plate, painting = np.zeros((2, HEIGHT, WIDTH, 3), np.float32)
    for index in range(int(rng.integers(8, 40))):
        outline = np.rint(shape(rng) * 2**SUBPIXEL).astype(np.int32)
        cover, line = np.zeros((2, HEIGHT, WIDTH), np.uint8)
        if index == 0:
            cover[:] = 255  # the wall
        else:
            cv2.fillPoly(cover, [outline], 255, cv2.LINE_AA, SUBPIXEL)
            cv2.polylines(line, [outline], True, 255, style.thickness, cv2.LINE_AA, SUBPIXEL)
        material, paint = surface(rng, style)
        plate += (material - plate) * opaque(cover)
        painting += (paint - painting) * opaque(cover)
        if style.ink is not None:
            lifted = (clouds(rng, 20, 2) + 2).clip(0, 1)[..., None]  # the pen, here and there
            painting += (style.ink - painting) * opaque(line) * lifted
    light = np.exp(rng.uniform(0.08, 0.33) * clouds(rng, rng.uniform(150, 400), 1))[..., None]
    painting *= light**style.light
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    right, down = (style.slips * clouds(rng, 30, 1) for _ in range(2))
    painting = cv2.remap(painting, x + right, y + down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    plate = cv2.GaussianBlur(plate * light, (0, 0), rng.uniform(0.4, 0.9))
    plate += rng.normal(0, 0.004, plate.shape)  # of the sensor
    return plate.clip(0, 1), painting.clip(0, 1)


def surface(rng: np.random.Generator, style: Style) -> tuple[np.ndarray, np.ndarray]:
    """What one thing is made of, and what it is painted with: float32 (HEIGHT, WIDTH, 3) each."""

    def material() -> np.ndarray:
        return color(rng.random(), rng.uniform(0, 0.6), rng.uniform(0.06, 0.85))

    def marks() -> np.ndarray:
        return strokes(rng, style)[..., None]

    texture = clouds(rng, rng.uniform(3, 40))[..., None]
    across, along = rng.normal(0, 0.15, 2)
    shading = across * np.linspace(-1, 1, WIDTH)[None, :, None] + along * np.linspace(-1, 1, HEIGHT)[:, None, None]
    roughness = rng.choice([0.02, 0.06, 0.15]) * rng.uniform(0.5, 1.5)
    spots = texture > (rng.uniform(-0.5, 1) if rng.random() < 0.3 else np.inf)
    plate = np.where(spots, material(), material()) * (1 + roughness * texture + shading)

    hue, value = rng.random(), rng.uniform(0.3, 0.95)
    first = color(hue, style.saturation * rng.uniform(0.5, 1), value)
    second = color(hue + rng.normal(0, 0.06), style.saturation * rng.uniform(0.3, 1), value + rng.normal(0, 0.25))
    third = color(rng.random(), style.saturation * rng.uniform(0.5, 1), rng.uniform(0.3, 0.95))
    accent = color(rng.random(), style.saturation, rng.uniform(0.4, 1))
    mixed = 1 / (1 + np.exp(rng.uniform(-1, 1) - 3 * marks()))
    paint = np.where(spots, third * (1 + 0.2 * marks()), first + (second - first) * mixed)
    paint = np.where(marks() > rng.uniform(1.5, 4), accent, paint)
    paint = paint * (1 + style.strength * marks()) * (1 + style.light * shading)
    return plate.astype(np.float32), paint.astype(np.float32)


def shape(rng: np.random.Generator) -> np.ndarray:
    """The outline of a blob or a board somewhere in the picture: float64 (96, 2), x and y in pixels."""
    around = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    circle = np.stack([np.cos(around), np.sin(around)], 1)
    if rng.random() < 0.35:
        radius = 1 / np.abs(circle).max(axis=1)  # of a square
    else:
        waves = (rng.normal(0, 0.35 / k) * np.cos(k * around + rng.uniform(0, 2 * np.pi)) for k in range(2, 7))
        radius = 1 + sum(waves)
    points = circle * np.reshape(radius, (-1, 1)) * (rng.uniform(0.4, 1.6), 1) * rng.uniform(12, 110)
    turn = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else 0
    points = points @ [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    return points + rng.uniform((0, 0), (WIDTH, HEIGHT))


def opaque(drawn: np.ndarray) -> np.ndarray:
    """What OpenCV has drawn in white, uint8 (HEIGHT, WIDTH), as a coverage: float32 (HEIGHT, WIDTH, 1), 0..1."""
    return (drawn / np.float32(255))[..., None]


def clouds(rng: np.random.Generator, size: float, octaves: int = 3) -> np.ndarray:
    """Value noise whose largest shapes are so many pixels wide, mean 0 and variance 1: float32 (HEIGHT, WIDTH)."""
    total = np.zeros((HEIGHT, WIDTH), np.float32)
    for octave in range(octaves):
        cell = max(1.0, size / 2**octave)
        knots = rng.standard_normal((int(HEIGHT / cell) + 3, int(WIDTH / cell) + 3)).astype(np.float32)
        total += cv2.resize(knots, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) / 2**octave
    return standard(total)


def strokes(rng: np.random.Generator, style: Style) -> np.ndarray:
    """Noise smeared into brush strokes, of three directions in patches, mean 0 and variance 1: float32 (HEIGHT,
    WIDTH)."""
    directions = []
    side = int(style.length) | 1
    middle = side // 2
    for angle in rng.uniform(0, np.pi, 3):
        kernel = np.zeros((side, side), np.float32)
        reach = np.rint(np.array([np.cos(angle), np.sin(angle)]) * middle).astype(int)
        cv2.line(kernel, (middle - reach).tolist(), (middle + reach).tolist(), 1.0, 1, cv2.LINE_AA)
        noise = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), style.width)
        directions.append(standard(cv2.filter2D(noise, -1, kernel / kernel.sum())))
    patches = np.stack([clouds(rng, 2 * style.length, 1) for _ in directions])
    return np.choose(patches.argmax(axis=0), directions)


def standard(noise: np.ndarray) -> np.ndarray:
    return (noise - noise.mean()) / noise.std()


def color(hue: float, saturation: float, value: float) -> np.ndarray:
    """sRGB, float32 (3,); the hue goes round, and the value stops at black and white."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, min(max(value, 0.0), 1.0)), np.float32)


def keyframes(count: int) -> Iterator[Keyframe]:
    """The scenes as the network sees key frames of a shot, the ST map leading each to itself."""
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            names = [str(Path(folder) / name) for name in ("plate.0001.png", "painting.png")]
            for name, picture in zip(names, scene(number), strict=True):
                cv2.imwrite(name, np.rint(picture[..., ::-1] * 255).astype(np.uint8))
            shot = Shot(names[0], prefilter=PrefilterParams(), guide=GuideParams(1))
            (key,) = load_keyframes(shot, [Painting(1, names[1])])
        source = key.source.copy()
        source[..., 7] = on_page(source[..., 7], number, count, HEIGHT)
        yield Keyframe(number, source, key.target, key.mask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--steps", type=int, default=15000)
    parser.add_argument("--out", type=Path, default=PRIOR)
    options = parser.parse_args()
    torch.set_num_threads(1)  # with another number of them the last digits differ
    painted = list(keyframes(options.scenes))
    network = NetworkConfig("fast", 9)
    training = Training(
        painted,
        network,
        replace(TrainConfig.for_preset("fast"), rate=RATE, rarity=0.0, hardness=0.0),
        exemplars=[key.frame for key in painted],
        device="cpu",
        experienced=False,
    )
    for report in training.run(Budget(steps=options.steps)):
        if report.step % 100 == 0:
            print(
                f"step {report.step}: l1 {training.losses['l1']:.4f}, {report.seconds_left or 0:.0f} s left", flush=True
            )
    write_atomically(options.out, packed(training.generator, network))


if __name__ == "__main__":
    main()
