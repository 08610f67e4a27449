"""Where a frame's time goes, stage by stage, and how far the network is from what the machine could do.

    python tests/bench/stages.py [--footage 'plate.####.exr' --keyframe 1001] [--frames 6] [--rounds 3]

Renders frames in order with the default graph, once with an empty cache and once again, with what that has kept, and
prints what each kind of node took by itself, medians over rounds. The network has untrained weights, which are as fast
as any. Without --footage the demo's frames are enlarged to 960x540.

The roofline (Williams et al. 2009): the multiply-adds and the least traffic with memory of the network's convolutions,
against what a large matrix product and a large copy reach here; it cannot be faster than the slower of the two.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line has it

import cv2
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper
from presets import exported, generator

from fewstroke.nodes.cache import DiskCache
from fewstroke.nodes.guide import Guide, GuideParams
from fewstroke.nodes.light import Light, LightParams
from fewstroke.nodes.node import Cancel, Known, Node, never
from fewstroke.nodes.prefilter import Prefilter, PrefilterParams
from fewstroke.nodes.read import Read, ReadParams
from fewstroke.nodes.render import Evaluator
from fewstroke.nodes.stmap import STMap, STMapParams
from fewstroke.nodes.stylize import Stylize, StylizeParams
from fewstroke.nodes.write import Write, WriteParams

DEMO = Path(__file__).resolve().parents[2] / "install" / "footage"
HEIGHT, WIDTH = 540, 960


class Stopwatch(Evaluator):
    """An evaluator that knows how long each kind of node worked, less what it waited for its inputs."""

    def __init__(self, folder: Path):
        super().__init__(disk=DiskCache(folder))
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner: list[float] = [0.0]

    def __call__(self, node: Node, frame: int, cancel: Cancel = never, known: Known | None = None) -> Any:
        start = time.perf_counter()
        self._inner.append(0.0)
        try:
            return super().__call__(node, frame, cancel, known)
        finally:
            whole = time.perf_counter() - start
            self.seconds[type(node).__name__] += whole - self._inner.pop()
            self._inner[-1] += whole


def enlarged(folder: Path) -> str:
    """The demo's footage at 960x540, as half-float EXR."""
    import OpenImageIO as oiio

    for path in sorted(DEMO.glob("plate.*")):
        picture = oiio.ImageBuf(str(path))
        picture = oiio.ImageBufAlgo.resize(picture, roi=oiio.ROI(0, WIDTH, 0, HEIGHT, 0, 1, 0, 3))
        picture.set_write_format("half")
        assert picture.write(str(folder / f"plate.{path.name.split('.')[1]}.exr")), picture.geterror()
    return str(folder / "plate.####.exr")


def stages(footage: str, keyframe: int, count: int, folder: Path) -> list[dict[str, float]]:
    """Milliseconds per frame of each kind of node: with an empty cache, and painted again."""
    plate = Read(ReadParams(footage))
    stmap = STMap(STMapParams((keyframe,)), plate)
    (folder / "m.onnx").write_bytes(exported("shown"))
    painted = Stylize(
        StylizeParams(str(folder / "m.onnx")),
        footage=plate,
        source=Prefilter(PrefilterParams(), plate),
        guide=Guide(GuideParams(keyframe), plate),
        stmap=stmap,
        light=Light(LightParams((keyframe,)), plate, stmap),
    )
    frames = [frame for frame in plate.frames() if frame > keyframe][2 : 2 + count]
    write = Write(WriteParams(str(folder / "out.####.exr")), image=painted)
    runs = []
    for _ in range(2):
        evaluate = Stopwatch(folder / "cache")
        evaluate(write, frames[0] - 1)  # what a process does only once: loads the model, fills the memory
        evaluate.seconds.clear()
        for frame in frames:
            evaluate(write, frame)
        runs.append({name: 1000 * seconds / count for name, seconds in evaluate.seconds.items()})
    return runs


def convolutions() -> tuple[float, float]:
    """Per pixel: multiply-adds, and bytes that its convolutions read and write if each array moves just once."""
    import torch

    adds = traffic = 0.0

    def count(layer: torch.nn.Conv2d, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal adds, traffic
        adds += layer.weight[0].numel() * output.numel()
        traffic += 4 * (inputs[0].numel() + output.numel())

    network, side = generator("shown"), 128
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, 9, side, side))
    return adds / side**2, traffic / side**2


def peak() -> tuple[float, float]:
    """Multiply-adds per second of a matrix product, and bytes per second of a copy, at best of several."""
    side = 1536
    node = helper.make_node("MatMul", ["a", "a"], ["b"])
    a, b = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in "ab")
    model = helper.make_model(helper.make_graph([node], "peak", [a], [b]), ir_version=8)
    model.opset_import[0].version = 17
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    matrix, block = np.ones((side, side), np.float32), np.ones(64 << 20, np.uint8)
    other = np.empty_like(block)
    products, copies = [], []
    for _ in range(7):
        start = time.perf_counter()
        session.run(None, {"a": matrix})
        products.append(time.perf_counter() - start)
        start = time.perf_counter()
        np.copyto(other, block)
        copies.append(time.perf_counter() - start)
    return side**3 / min(products), 2 * block.nbytes / min(copies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--footage")
    parser.add_argument("--keyframe", type=int, default=1001)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        footage = options.footage or enlarged(Path(name))
        for index in range(options.rounds):
            folder = Path(name) / str(index)
            folder.mkdir()
            rounds.append(stages(footage, options.keyframe, options.frames, folder))
        height, width = Evaluator()(Read(ReadParams(footage)), options.keyframe).pixels.shape[:2]
    print(
        f"{os.cpu_count()} cores, {cv2.getNumThreads()} threads, {options.rounds} rounds, medians, {width}x{height}\n"
    )
    print("| ms a frame | first time | painted again |\n| --- | --- | --- |")
    names = sorted(rounds[0][0], key=lambda name: -rounds[0][0][name])
    cells = [[statistics.median(r[run].get(name, 0.0) for r in rounds) for run in (0, 1)] for name in names]
    for name, row in zip(names, cells, strict=True):
        print(f"| {name} | {row[0]:.0f} | {row[1]:.0f} |")
    totals = [sum(row[run] for row in cells) for run in (0, 1)]
    print(f"| all | {totals[0]:.0f} | {totals[1]:.0f} |\n")

    adds, traffic = (height * width * each for each in convolutions())
    rate, bandwidth = peak()
    network = dict(zip(names, cells, strict=True))["Stylize"][1] / 1000
    print(f"the convolutions of a frame: {adds / 1e9:.1f} G multiply-adds, {traffic / 1e6:.0f} MB at the least")
    print(f"this machine: {rate / 1e9:.0f} G multiply-adds/s in a matrix product, {bandwidth / 1e9:.1f} GB/s in a copy")
    print(
        f"so at best {1000 * adds / rate:.0f} ms for the arithmetic, {1000 * traffic / bandwidth:.0f} ms for the memory"
    )
    print(f"the stylizer takes {1000 * network:.0f} ms: {adds / rate / network:.0%} of what the arithmetic allows")


if __name__ == "__main__":
    main()
