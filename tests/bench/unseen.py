"""Three more shots with a right answer: `python tests/bench/unseen.py OUT`.

Renders OUT/dancer, OUT/dog and OUT/car in Blender 5.0.1 (install/blender.py makes it), a quarter of an hour of two
cores, as folders that contest.py takes (see sequences.py): 512x288, 48 frames, one key frame, exact motion. Scenes that
are there are left alone. unseen_inside.py describes them. They were made when everything had been tuned on four others.
"""

import json
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio

from fewstroke.engine.color import encode
from fewstroke.nodes.warp import compose, positions, warp, within

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BLENDER = "5.0.1"
SCENES = ("dancer", "dog", "car")
FRAMES = 48
NOISE = 2.0
"""Standard deviation of the sensor's noise, codes of 255."""
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


def passes(path: Path) -> dict[str, np.ndarray]:
    """The passes of a multi-part EXR of Blender's, by name: float32 (H, W, C)."""
    file = oiio.ImageInput.open(str(path))
    if file is None:
        sys.exit(f"unseen: {path} cannot be read ({oiio.geterror()})")
    found, part = {}, 0
    while file.seek_subimage(part, 0):
        spec = file.spec()
        found[spec.channelnames[0].split(".")[1]] = file.read_image(part, 0, 0, spec.nchannels, oiio.FLOAT)
        part += 1
    return found


def codes(linear: np.ndarray) -> np.ndarray:
    """Scene-linear to sRGB codes, float32, 0..255, in OpenCV's order of channels."""
    return encode(np.ascontiguousarray(linear[..., 2::-1])).clip(0, 1) * 255


def convert(raw: Path, folder: Path) -> None:
    """Blender's frames into footage, painting, mask and true motion."""
    for name in ("input", "painted", "mask", "flow"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(1)
    motions = []
    for frame in range(1, FRAMES + 1):
        filmed, painted = (passes(raw / f"{kind}.{frame:04d}.exr") for kind in ("filmed", "painted"))
        footage, painting = codes(filmed["Combined"]), codes(painted["Combined"])
        footage += rng.normal(0, NOISE, footage.shape)
        mask = filmed["Object Index"][..., 0].clip(0, 1) * 255
        pictures = (("input", "jpg", footage), ("painted", "png", painting), ("mask", "png", mask))
        for name, kind, picture in pictures:
            path = folder / f"{name}/{frame:04d}.{kind}"
            cv2.imwrite(str(path), np.rint(picture).clip(0, 255).astype(np.uint8), JPEG if kind == "jpg" else [])
        # Blender's Vector: from the frame before to here, and from the frame after to here; right and up.
        motions.append(filmed["Vector"] * np.array([1, -1, -1, 1], np.float32))
    for frame, (here, after) in enumerate(pairwise(motions), 1):
        flow, back = np.ascontiguousarray(here[..., 2:]), np.ascontiguousarray(after[..., :2])
        round_trip = np.abs(compose(flow, back)).max(axis=2)
        valid = (round_trip < 1) & within(*positions(flow), flow.shape)
        np.savez_compressed(folder / f"flow/{frame:04d}.npz", flow=flow.astype(np.float16), valid=valid)
    check(folder)
    facts = {"name": folder.name, "frames": FRAMES, "key_frame_single": [1], "key_frames": [13, 36]}
    (folder / "meta.json").write_text(json.dumps(facts, indent=1))


def check(folder: Path) -> None:
    """Ends the program where the paintings do not move along the flow: another Blender may count otherwise."""

    def difference(sign: int) -> float:
        found = []
        for frame in range(1, FRAMES, 8):
            here, after = (
                np.asarray(cv2.imread(str(folder / f"painted/{f:04d}.png")), np.float32) for f in (frame, frame + 1)
            )
            with np.load(folder / f"flow/{frame:04d}.npz") as data:
                flow, valid = data["flow"].astype(np.float32) * sign, data["valid"]
            found.append(np.abs(warp(after, flow) - here)[valid].mean())
        return float(np.mean(found))

    if not difference(1) < 0.5 * min(difference(0), difference(-1)):
        sys.exit(f"unseen: the paintings of {folder} do not move along its flow")


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    subprocess.run([sys.executable, ROOT / "install/blender.py", BLENDER], check=True)
    blender = ROOT / ".venv-blender" / BLENDER / "bin" / "python"
    for scene in SCENES:
        folder = Path(sys.argv[1]) / scene
        if folder.exists():
            continue
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            print(f"unseen: {scene}", flush=True)
            log = Path(made) / "blender.log"
            with log.open("w") as file:
                command = [blender, HERE / "unseen_inside.py", scene, made, str(FRAMES)]
                if subprocess.run(command, stdout=file, stderr=file).returncode:
                    sys.exit(f"unseen: Blender failed: {log.read_text().strip().splitlines()[-1]}")
            convert(Path(made), Path(made) / scene)
            (Path(made) / scene).rename(folder)


if __name__ == "__main__":
    main()
