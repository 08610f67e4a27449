"""Who takes part: ways of training, floors that learn nothing, and programs of others.

    python tests/bench/contestants.py JOB

runs one of them, in a process of its own so that its memory is its own; contest.py starts it. JOB is a `Job` as JSON.
A contestant writes the judged frames, and last of all run.json: what it took.
"""

import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from presets import high_water
from sequences import Sequence
from torch import Tensor, nn

from fewstroke.engine.color import decode, encode
from fewstroke.engine.config import NetworkConfig, Preset, TrainConfig
from fewstroke.engine.export import export_model
from fewstroke.engine.image import Image, unpremultiply
from fewstroke.engine.losses import VggLoss, cached_vgg
from fewstroke.engine.model import ModelInfo
from fewstroke.engine.network import Generator, build_generator
from fewstroke.engine.patches import Choice, Patches, PatchSampler, layers
from fewstroke.engine.train import Budget, Training
from fewstroke.nodes.cache import MemoryCache
from fewstroke.nodes.guide import GuideParams
from fewstroke.nodes.motion import Flow, FlowParams
from fewstroke.nodes.node import Cancel, Fetch, Node
from fewstroke.nodes.prefilter import PrefilterParams
from fewstroke.nodes.read import Read, ReadParams
from fewstroke.nodes.render import Evaluator
from fewstroke.nodes.shot import Painting, Shot, load_keyframes, stylized, with_exemplars
from fewstroke.nodes.warp import compose, enlarged, warp_picture

STEP_PIXELS = 40 * 32 * 32
"""What a budget in steps counts: those of forty patches of 32x32. Whoever learns from more pixels at once gets as many
fewer, so that all see the same number."""

STRENGTH = 0.2
"""How much of the picture, or of the features, the augmentations take away. The paper does not say its own."""


@dataclass(frozen=True)
class Job:
    """One contestant on one shot.

    marks    when it is judged: after so many seconds of training or, with `steps`, steps of `STEP_PIXELS`; rising
    steps    also what clocks tell: the processor's time, since one goes by steps where the machine has other work
    threads  that it may use; 0: all cores
    command  of a program of others, see `external`
    """

    name: str
    folder: str
    pairs: int
    out: str
    marks: tuple[float, ...]
    steps: bool
    threads: int = 0
    command: str = ""

    @property
    def clock(self) -> Callable[[], float]:
        return time.process_time if self.steps else time.perf_counter


@dataclass
class Run:
    """What a contestant took, to run.json.

    marks   for each: {"step", "seconds" of training}; its frames lie in a folder that is called by its number
    inputs  seconds for what a frame's painting is made from (prefilter, guide, ST map), median
    frame   seconds for the painting itself, median
    memory  megabytes of the process at its largest, all of it; None: somebody else's
    """

    marks: list[dict[str, float]] = field(default_factory=list)
    inputs: float | None = None
    frame: float = 0.0
    memory: float | None = None


# Ways of training


class CoordinatesShot(Shot):
    """Each pixel's place in the frame, in place of the guide layer; the paper compares with that (3.3)."""

    @cached_property
    def guide_node(self) -> Node:  # type: ignore[override]
        return Coordinates(NoParams(), footage=self.footage_node)


@dataclass(frozen=True)
class NoParams:
    """Of a node that has none."""


class Coordinates(Node):
    """Red from left to right, green from top to bottom, 0..1."""

    INPUTS = ("footage",)

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        picture = fetch("footage", frame)
        x, y = np.meshgrid(np.linspace(0, 1, picture.width), np.linspace(0, 1, picture.height))
        return Image(np.stack([x, y, np.zeros_like(x)], -1).astype(np.float32))


class WholeFrames(PatchSampler):
    """Batches of one whole key frame, as in full-frame training (paper, 3.1 and Fig. 3). On the processor only."""

    def choose(self) -> Choice:
        index = int(self._rng.integers(len(self._sizes)))
        return Choice(torch.tensor([index]), torch.empty(0))

    def cut(self, corners: Tensor, chances: Tensor) -> Patches:
        index = int(corners)
        height, width = (int(side) for side in self._sizes[index])
        pixels = self._pixels[self._starts[index] :][: height * width].view(1, height, width, -1)
        source, target, mask = layers(pixels[:, : height // 4 * 4, : width // 4 * 4].permute(0, 3, 1, 2))
        return Patches(self.augment(source.clone()), target, mask, real=target)

    def augment(self, source: Tensor) -> Tensor:
        """The picture, (1, C, H, W), as the network gets to see it."""
        return source


class NoisyFrames(WholeFrames):
    """Gaussian noise (paper, Fig. 9 b, c)."""

    def augment(self, source: Tensor) -> Tensor:
        noise = self._rng.standard_normal(source.shape, np.float32)
        return source + torch.from_numpy(noise) * STRENGTH / 2


class ErasedFrames(WholeFrames):
    """Single pixels are black (paper, Fig. 9 d)."""

    def augment(self, source: Tensor) -> Tensor:
        return source * torch.from_numpy(self._rng.random(source.shape[2:]) >= STRENGTH)


class OccludedFrames(WholeFrames):
    """Large squares are black (paper, Fig. 9 e, f)."""

    def augment(self, source: Tensor) -> Tensor:
        height, width = source.shape[2:]
        side = height // 4
        for _ in range(round(STRENGTH * height * width / side**2)):
            top, left = self._rng.integers(height - side), self._rng.integers(width - side)
            source[..., top : top + side, left : left + side] = 0
        return source


def dropping(drop: Callable[[Tensor, float, bool], Tensor]) -> Callable[[NetworkConfig], Generator]:
    """Builds networks with dropout before each convolution (paper, Fig. 9 g, h); in training only."""

    def build(config: NetworkConfig) -> Generator:
        network = build_generator(config)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_pre_hook(
                    lambda layer, seen: (drop(seen[0], STRENGTH, layer.training), *seen[1:])
                )
        return network

    return build


@dataclass(frozen=True)
class Recipe:
    """A way of training. By default all is as in the product.

    network, config  what differs from the preset's `NetworkConfig` and `TrainConfig`
    """

    preset: Preset = "fast"
    prefilter: bool = True
    guide: bool = True
    exemplar: bool = True
    steadiness: float = 0.0
    shot: type[Shot] = Shot
    sampler: type[PatchSampler] = PatchSampler
    build: Callable[[NetworkConfig], Generator] = build_generator
    experienced: bool = True
    network: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


PLAIN = Recipe(prefilter=False, guide=False)
RECIPES = {
    "paper": Recipe("paper"),
    "paper-plain": Recipe("paper", prefilter=False, guide=False),
    "paper-full-frame": Recipe("paper", prefilter=False, guide=False, sampler=WholeFrames),
    "fast": Recipe(),
    "cold": Recipe(experienced=False),
    "steady": Recipe(steadiness=1.0),
    "guide": Recipe(prefilter=False),
    "lone": Recipe(exemplar=False),
    "coordinates": Recipe(exemplar=False, shot=CoordinatesShot),
    "prefilter": Recipe(guide=False),
    "plain": PLAIN,
    "full-frame": replace(PLAIN, sampler=WholeFrames),
    "noise": replace(PLAIN, sampler=NoisyFrames),
    "erased": replace(PLAIN, sampler=ErasedFrames),
    "occluded": replace(PLAIN, sampler=OccludedFrames),
    "dropout-maps": replace(PLAIN, sampler=WholeFrames, build=dropping(F.dropout2d)),
    "dropout-pixels": replace(PLAIN, sampler=WholeFrames, build=dropping(F.dropout)),
}


def recipe_of(name: str) -> Recipe:
    """By name, such as "fast", or with numbers of `TrainConfig` or `NetworkConfig` changed, such as "plain patch=48".

    Raises ValueError where there is none.
    """
    base, *changes = name.split()
    if base not in RECIPES:
        raise ValueError(f"there is no contestant '{base}'")
    recipe = RECIPES[base]
    network, config = dict(recipe.network), dict(recipe.config)
    for change in changes:
        key, _, text = change.partition("=")
        value = float(text) if "." in text or "e" in text else int(text)
        if key in {known.name for known in fields(TrainConfig)}:
            config[key] = value
        elif key in {known.name for known in fields(NetworkConfig)}:
            network[key] = value
        else:
            raise ValueError(f"'{key}' of the contestant '{name}' is no number of NetworkConfig or TrainConfig")
    return replace(recipe, network=network, config=config)


def learn(job: Job, sequence: Sequence) -> Run:
    """Trains, and paints the judged frames at every mark; that does not count as training time."""
    recipe, out = recipe_of(job.name), Path(job.out)
    paintings = [Painting(sequence.key, str(sequence.painted[sequence.key]))]
    shot = recipe.shot(
        sequence.pattern,
        prefilter=PrefilterParams() if recipe.prefilter else None,
        guide=GuideParams(sequence.key) if recipe.guide else None,
        exemplars=(),
    )
    if recipe.exemplar:
        shot = with_exemplars(shot, paintings, recipe.preset)
    keyframes = load_keyframes(shot, paintings)
    batch = recipe.config.get("batch", TrainConfig.batch)
    config = replace(TrainConfig.for_preset(recipe.preset, batch=batch), **recipe.config)
    weights = cached_vgg()
    whole = issubclass(recipe.sampler, WholeFrames)
    torch.manual_seed(config.seed)  # dropout draws from torch's own random state
    training = Training(
        keyframes,
        NetworkConfig(recipe.preset, len(shot.channels), **recipe.network),
        config,
        exemplars=() if shot.stmap_node is None else shot.stmap_node.keyframes,
        perceptual=None if weights is None else VggLoss(weights),
        sampler=recipe.sampler,
        build=recipe.build,
        experienced=recipe.experienced,
        device="cpu" if whole else None,
    )
    pixels = keyframes[0].mask.size if whole else config.batch * config.patch**2
    evaluate = Evaluator(MemoryCache(256 << 20))
    run, spent = Run(), 0.0
    for number, mark in enumerate(job.marks):
        # A step longer than all the time that is left still counts, as it would for whoever watches the clock.
        budget = (
            Budget(steps=max(1, round(mark * STEP_PIXELS / pixels)))
            if job.steps
            else Budget(seconds=max(mark - spent, 1e-3))
        )
        start = job.clock()
        for _ in training.run(budget):
            pass
        spent += job.clock() - start
        info = ModelInfo(
            name=job.name, halo=training.generator.halo, size_multiple=training.generator.SIZE_MULTIPLE, keyframes=(),
            network=training.network.to_json(), training=config.to_json(), steps=training.step, losses=training.losses,
            **shot.facts(),
        )  # fmt: skip
        model = out / f"{number}.onnx"
        model.write_bytes(export_model(training.generator, info))
        painted = stylized(shot, str(model), steadiness=recipe.steadiness, threads=job.threads)
        shown = (shot.source_node, shot.guide_node, shot.stmap_node, shot.light_node)
        inputs = [node for node in shown if node is not None]
        times = paint(painted, inputs, sequence, out / str(number), evaluate, job.clock)
        run.marks.append({"step": training.step, "seconds": spent})
        if run.inputs is None:  # at later marks they are at hand
            run.inputs = times[0]
        run.frame = times[1]
    return run


def paint(
    node: Node,
    inputs: list[Node],
    sequence: Sequence,
    folder: Path,
    evaluate: Evaluator,
    clock: Callable[[], float],
) -> tuple[float, float]:
    """Every judged frame to %04d.png in the folder; median seconds for the inputs and for the node itself."""
    folder.mkdir(exist_ok=True)
    times = []
    for frame in sequence.judged:
        start = clock()
        for shown in inputs:
            evaluate(shown, frame)
        ready = clock()
        pixels = evaluate(node, frame).pixels
        times.append((ready - start, clock() - ready))
        encoded = np.rint(np.clip(encode(pixels), 0, 1) * 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{frame:04d}.png"), np.ascontiguousarray(encoded[..., ::-1]))
    between, itself = zip(*times, strict=True)
    return statistics.median(between), statistics.median(itself)


# Floors


@dataclass(frozen=True)
class RecolouredParams:
    """matrix  from red, green, blue and 1 to red, green and blue, in the working encoding"""

    matrix: tuple[tuple[float, ...], ...]


class Recoloured(Node):
    """Colour transfer: one affine map for all pixels."""

    INPUTS = ("footage",)
    params: RecolouredParams

    @classmethod
    def after(cls, sequence: Sequence, footage: Read, painting: Read, evaluate: Evaluator) -> "Recoloured":
        """The map that brings the key frame nearest to its painting, by least squares."""
        source, target = (
            encode(unpremultiply(evaluate(node, sequence.key))).reshape(-1, 3) for node in (footage, painting)
        )
        matrix = np.linalg.lstsq(np.pad(source, ((0, 0), (0, 1)), constant_values=1), target)[0]
        return cls(RecolouredParams(tuple(map(tuple, matrix.tolist()))), footage=footage)

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        matrix = np.array(self.params.matrix, np.float32)
        source = encode(unpremultiply(fetch("footage", frame)))
        return Image(decode((source @ matrix[:3] + matrix[3]).astype(np.float32)))


@dataclass(frozen=True)
class CarriedParams:
    """keyframe  whose painting is carried"""

    keyframe: int


class Carried(Node):
    """The painting of the key frame, moved along optical flow that is chained from frame to frame."""

    INPUTS = ("footage", "painting")
    params: CarriedParams

    def __init__(self, params: CarriedParams, footage: Node, painting: Node):
        super().__init__(params, footage=footage, painting=painting)
        self.inputs = {
            **self.inputs,
            "on": Flow(FlowParams(1), footage),
            "back": Flow(FlowParams(-1), footage),
        }

    def identity(self, frame: int) -> tuple[str, int] | None:
        return ("painting", frame) if frame == self.params.keyframe else None

    def _way(self, frame: int) -> tuple[str, tuple[int, ...]]:
        """Which flow leads to the key frame, and from which frames on."""
        key = self.params.keyframe
        return ("back", tuple(range(frame, key, -1))) if frame > key else ("on", tuple(range(frame, key)))

    def frames_needed(self, frame: int) -> dict[str, tuple[int, ...]]:
        return dict([self._way(frame)]) | {"painting": (self.params.keyframe,)}

    def evaluate(self, frame: int, fetch: Fetch, cancel: Cancel) -> Image:
        name, (first, *others) = self._way(frame)
        painting = fetch("painting", self.params.keyframe).pixels
        shape = painting.shape
        total = enlarged(fetch(name, first), shape)
        for other in others:
            total = compose(total, enlarged(fetch(name, other), shape))
        return Image(warp_picture(painting, total))


FLOORS = ("colour", "carried")


def floor(job: Job, sequence: Sequence) -> Run:
    evaluate = Evaluator(MemoryCache(256 << 20))
    footage = Read(ReadParams(sequence.pattern))
    painting = Read(ReadParams(str(sequence.painted[sequence.key]), working=footage.working()))
    if job.name == "colour":
        node: Node = Recoloured.after(sequence, footage, painting, evaluate)
    else:
        node = Carried(CarriedParams(sequence.key), footage, painting)
    inputs, seconds = paint(node, [footage], sequence, Path(job.out) / "0", evaluate, job.clock)
    return Run([{"step": 0, "seconds": 0.0}], inputs, seconds)


# Programs of others

EXTERNALS = ("ebsynth",)


def external(job: Job, sequence: Sequence) -> Run:
    """Runs a command once per judged frame. In it stand {footage}, this frame's picture; {keyframe}, that of the key
    frame; {style}, the painting; {out}, the PNG to write."""
    folder = Path(job.out) / "0"
    folder.mkdir(exist_ok=True)

    def seconds() -> Iterator[float]:
        for frame in sequence.judged:
            out = folder / f"{frame:04d}.png"
            paths = {
                "footage": sequence.footage[frame], "keyframe": sequence.footage[sequence.key],
                "style": sequence.painted[sequence.key], "out": out,
            }  # fmt: skip
            start = time.perf_counter()
            subprocess.run([word.format(**paths) for word in shlex.split(job.command)], check=True)
            yield time.perf_counter() - start
            if not out.is_file():
                sys.exit(f"{job.name} did not write {out}")

    return Run([{"step": 0, "seconds": 0.0}], frame=statistics.median(seconds()))


def known(name: str) -> None:
    """Raises ValueError where there is no such contestant."""
    if name not in (*FLOORS, *EXTERNALS):
        recipe_of(name)


def main() -> None:
    values = json.loads(sys.argv[1])
    job = Job(**{**values, "marks": tuple(values["marks"])})
    if job.threads:
        torch.set_num_threads(job.threads)
        cv2.setNumThreads(job.threads)
    sequence = Sequence(Path(job.folder), job.pairs)
    if job.name in EXTERNALS:
        run = external(job, sequence)
    else:
        run = (floor if job.name in FLOORS else learn)(job, sequence)
        run.memory = high_water() / 1e6
    (Path(job.out) / "run.json").write_text(json.dumps(asdict(run)))


if __name__ == "__main__":
    main()
