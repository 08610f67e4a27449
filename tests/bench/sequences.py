"""The shots that contestants are tried on: their frames, which of them are judged, and the figures they are judged by.

A rendered shot is a folder with input/ (the footage), painted/ (the truth of every frame), mask/ (its subject), flow/
(true motion to the next frame) and meta.json with `key_frame_single`. A filmed one has footage/, painted/ (the key
frame, which is the first that is painted, and references for some others) and mask/. Files are called by their frame.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from fewstroke.nodes.motion import Flow, FlowParams, consistent
from fewstroke.nodes.read import Read, ReadParams
from fewstroke.nodes.render import Evaluator
from fewstroke.nodes.warp import enlarged, warp

NEAR = 4
"""Frames from the key frame to the one that is shown as near; the paper shows the fifth."""


@dataclass(frozen=True)
class Sequence:
    """A folder as described above.

    pairs  how many pairs of neighbouring frames are judged, evenly over the shot
    """

    folder: Path
    pairs: int

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def footage(self) -> dict[int, Path]:
        return _by_frame(next(folder for name in ("input", "footage") if (folder := self.folder / name).is_dir()))

    @cached_property
    def painted(self) -> dict[int, Path]:
        """The truth, or what stands for it, and the key frame."""
        return {frame: path for frame, path in _by_frame(self.folder / "painted").items() if frame in self.footage}

    @cached_property
    def key(self) -> int:
        meta = self.folder / "meta.json"
        return json.loads(meta.read_text())["key_frame_single"][0] if meta.is_file() else min(self.painted)

    @cached_property
    def pattern(self) -> str:
        """The footage, as nodes read it."""
        path = self.footage[self.key]
        return str(path.with_stem("#" * len(path.stem)))

    @cached_property
    def judged(self) -> list[int]:
        frames = sorted(self.footage)
        starts = np.linspace(frames[0], frames[-1] - 1, self.pairs).round().astype(int)
        wanted = {self.key, *(f + i for f in (*starts.tolist(), self.key + NEAR) for i in (0, 1))}
        return sorted(wanted & set(frames))

    @cached_property
    def shown(self) -> list[int]:
        """Of the frames with a truth: one near the key frame, the farthest, and the one that looks least like it."""
        known = [frame for frame in self.judged if frame in self.painted and frame != self.key]
        key = _picture(self.footage[self.key])
        unlike = {frame: float(np.abs(_picture(self.footage[frame]) - key).mean()) for frame in known}
        distance = {frame: abs(frame - self.key) for frame in known}
        near = min(known, key=lambda frame: abs(distance[frame] - NEAR))
        return sorted({near, max(known, key=distance.__getitem__), max(known, key=unlike.__getitem__)})

    def crop(self, frame: int, side: int) -> tuple[slice, slice]:
        """A square round the middle of the subject."""
        mask = cv2.imread(str(_by_frame(self.folder / "mask")[frame]), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        places = np.argwhere(mask > 127) if (mask > 127).any() else np.argwhere(mask >= 0)
        top, left = np.clip(places.mean(0).astype(int) - side // 2, 0, np.maximum(0, np.array(mask.shape) - side))
        return slice(top, top + side), slice(left, left + side)

    def scores(self, pictures: Path, scorer: Path) -> dict[str, float]:
        """What the judged frames in a folder, %04d.png, are worth; `change` where there is no true motion.

        scorer  a program that is called with a rendered shot's folder, a pattern, --keys and --json
        """
        view = self._view(pictures.parent / "judged")
        command = [sys.executable, scorer, view, pictures / "%04d.png", "--keys", str(self.key), "--json"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"contest: {scorer} failed: {done.stderr.strip()}")
        scores = json.loads(done.stdout)
        return scores if (self.folder / "flow").is_dir() else {**scores, "change": self._change(pictures)}

    def _view(self, view: Path) -> Path:
        """The shot as links, with no more than the judged frames, so that the scorer sees those alone."""
        for kind in ("painted", "mask", "flow"):
            (view / kind).mkdir(parents=True, exist_ok=True)
            for frame, path in _by_frame(self.folder / kind).items():
                link = view / kind / f"{frame:04d}{'.npz' if kind == 'flow' else '.png'}"
                if frame in self.judged and not link.exists():
                    link.symlink_to(path.resolve())
        return view

    def _change(self, pictures: Path) -> float:
        """Mean change from a frame to the next along estimated motion, in 1/255."""
        evaluate = Evaluator()
        forward = Flow(FlowParams(), Read(ReadParams(self.pattern)))
        changes = []
        for frame in self.judged:
            if frame + 1 not in self.judged:
                continue
            now, after = (_picture(pictures / f"{f:04d}.png") for f in (frame, frame + 1))
            there = enlarged(evaluate(forward, frame), now.shape)
            valid = consistent(there, enlarged(evaluate(forward.towards(-1), frame + 1), now.shape))
            apart = np.abs(warp(after, there) - now)
            changes.append(apart.mean(axis=2)[valid].mean())
        return round(float(np.mean(changes)), 4)


def find_sequences(data: Path, pairs: int) -> dict[str, Sequence]:
    """All shots below a folder."""
    folders = sorted({path.parent for path in data.glob("**/painted")}, key=lambda folder: folder.name)
    return {folder.name: Sequence(folder, pairs) for folder in folders}


def _picture(path: Path) -> np.ndarray:
    """Float32 (H, W, 3), 0..255."""
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return picture.astype(np.float32)


def _by_frame(folder: Path) -> dict[int, Path]:
    return {int(path.stem): path for path in sorted(folder.glob("*.*"))} if folder.is_dir() else {}
