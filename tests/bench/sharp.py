"""Whether a 4K painting keeps its brush at 4K (the paper's open problem: large key frames come out soft).

    python tests/bench/sharp.py [--width 3840] [--train 60s] [--out build/sharp]

The demo's first frame and its painting, enlarged, with detail of the new size: hatching a pixel wide in the painting,
texture and sensor noise in the footage. A camera pans over both by 40 pixels a frame, so the right painting of every
frame is known. `fewstroke train` learns the first frame and `fewstroke render` paints the fifth, as anybody would run
them. The table tells what was lost: psnr, and of the finest detail (what a blur of 2 pixels takes away) how much there
is, against the painting's, and how far it is the same. To --out goes a part of both at full size, side by side.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio

FOOTAGE = Path(__file__).resolve().parents[2] / "install" / "footage"
FRAMES, STEP = 5, (40, 10)


def enlarged(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A picture at (width, height), as displayed: float32 (H, W, 3), BGR."""
    pixels = oiio.ImageBuf(str(path)).get_pixels(oiio.FLOAT)
    assert pixels is not None, path
    pixels = np.ascontiguousarray(pixels[..., 2::-1])
    if path.suffix == ".exr":
        pixels = np.clip(pixels, 0, 1) ** np.float32(1 / 2.2)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)


def hatching(shape: tuple[int, ...], angle: float, rng: np.random.Generator) -> np.ndarray:
    """Strokes a pixel wide and some forty long: float32, a deviation of 1."""
    kernel, middle = np.zeros((41, 41), np.float32), np.array([20, 20])
    reach = 20 * np.array([np.cos(angle), np.sin(angle)])
    cv2.line(kernel, (middle - reach).astype(int).tolist(), (middle + reach).astype(int).tolist(), 1)
    strokes = cv2.filter2D(rng.standard_normal(shape).astype(np.float32), -1, kernel)
    return strokes / strokes.std()


def make_shot(folder: Path, width: int, height: int) -> None:
    rng = np.random.default_rng(0)
    size = width + STEP[0] * FRAMES, height + STEP[1] * FRAMES
    plate, painting = (enlarged(FOOTAGE / name, size) for name in ("plate.1001.exr", "painting.1001.png"))
    light = cv2.GaussianBlur(cv2.cvtColor(painting, cv2.COLOR_BGR2GRAY), (0, 0), 20)
    brush = np.where(light > np.median(light), *(hatching(size[::-1], angle, rng) for angle in (0.4, 2.1)))
    painting += np.float32(0.06) * brush[..., None]
    texture = cv2.GaussianBlur(rng.standard_normal(size[::-1]).astype(np.float32), (0, 0), 3)
    plate += np.float32(0.015) * (texture / texture.std())[..., None]
    for frame in range(1, FRAMES + 1):
        x, y = STEP[0] * (frame - 1), STEP[1] * (frame - 1)
        for name, canvas, noise in (("plate", plate, 0.008), ("painting", painting, 0)):
            view = canvas[y : y + height, x : x + width] + noise * rng.standard_normal((height, width, 3))
            cv2.imwrite(str(folder / f"{name}.{frame:04d}.png"), np.rint(view.clip(0, 1) * 255).astype(np.uint8))


def run(*arguments: str) -> float:
    """Seconds that a command took."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "fewstroke.plugin.cli", *arguments], check=True, stdout=sys.stderr)
    return time.monotonic() - start


def fine(picture: np.ndarray) -> np.ndarray:
    return picture - cv2.GaussianBlur(picture, (0, 0), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=3840)
    parser.add_argument("--train", default="60s")
    parser.add_argument("--out", type=Path, default=Path("build/sharp"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    height = round(options.width * 9 / 16)
    make_shot(options.out, options.width, height)
    plate, model, last = str(options.out / "plate.####.png"), str(options.out / "sharp.onnx"), str(FRAMES)
    key = f"1={options.out / 'painting.0001.png'}"
    trained = run("train", "--footage", plate, "--keyframe", key, "--out", model, "--time", options.train)
    painted = run(
        "render", "--model", model, "--footage", plate, "--frames", last, "--out", str(options.out / "out.####.png")
    )
    found, right = (
        cv2.imread(str(options.out / f"{name}.{FRAMES:04d}.png"), cv2.IMREAD_COLOR)
        for name in ("out", "painting")
    )  # fmt: skip
    assert found is not None and right is not None
    top, left = height // 2 - 250, options.width // 2 - 300
    part = [picture[top : top + 500, left : left + 600] for picture in (found, right)]
    cv2.imwrite(str(options.out / "side-by-side.png"), np.hstack(part))
    # Without what the pan has brought into view.
    known = np.s_[: height - STEP[1] * FRAMES, : options.width - STEP[0] * FRAMES]
    a, b = (picture[known].astype(np.float32) / 255 for picture in (found, right))
    fine_a, fine_b = fine(a), fine(b)
    print("| | psnr | finest detail | the same detail | training, s | a frame from nothing, s |")
    print("| --- | --- | --- | --- | --- | --- |")
    psnr, much = -10 * np.log10(np.square(a - b).mean()), fine_a.std() / fine_b.std()
    same = np.corrcoef(fine_a[::3, ::3].ravel(), fine_b[::3, ::3].ravel())[0, 1]
    size = f"{options.width}x{height}"
    print(f"| {size} | {psnr:.1f} | {100 * much:.0f} % | {100 * same:.0f} % | {trained:.0f} | {painted:.0f} |")


if __name__ == "__main__":
    main()
