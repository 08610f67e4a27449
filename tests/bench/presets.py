"""`fast` against `paper`, side by side in one run: cost of a frame, of a training step, of memory, of a cold start.

    python tests/bench/presets.py [--rounds 5]

Prints a Markdown table. Both presets run in turn, round after round, and medians are compared, since machines drift.
"paper, eager" is the network as published: PyTorch, whole frame. Peak memory is that of a process of its own. "shown"
is `fast` with guide, ST map and exemplar, as it is by default, without what it costs to make these.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 540, 960
NETWORKS = {"paper": ("paper", 3), "fast": ("fast", 3), "shown": ("fast", 9)}
CHANNELS = ("R", "G", "B", "guide R", "guide G", "guide B", "s", "t", "confidence")


def pictures(height: int, width: int, channels: int):  # type: ignore[no-untyped-def]
    """A key frame of noise that finds itself."""
    from fewstroke.engine.keyframe import Keyframe

    rng = np.random.default_rng(0)
    source = rng.random((height, width, channels), np.float32)
    if channels == 9:
        source[..., 6] = (np.arange(width) + 0.5) / width
        source[..., 7] = 1 - (np.arange(height)[:, None] + 0.5) / height
        source[..., 8] = 1
    return Keyframe(1, source, rng.random((height, width, 3), np.float32), np.ones((height, width), np.float32))


def generator(preset: str):  # type: ignore[no-untyped-def]
    import torch

    from fewstroke.engine.config import NetworkConfig
    from fewstroke.engine.network import build_generator

    torch.manual_seed(0)
    network = build_generator(NetworkConfig(*NETWORKS[preset])).eval()  # type: ignore[arg-type]
    if network.exemplar is not None:
        network.exemplar.show([pictures(HEIGHT, WIDTH, 9)])
    return network


def eager_frame(preset: str) -> Callable[[], object]:
    import torch

    network, picture = generator(preset), torch.rand(1, 3, HEIGHT, WIDTH)

    def run() -> object:
        with torch.inference_mode():
            return network(picture)

    return run


def exported(preset: str) -> bytes:
    from fewstroke.engine.color import LINEAR_REC709
    from fewstroke.engine.export import export_model
    from fewstroke.engine.model import ModelInfo

    network = generator(preset)
    info = ModelInfo(
        name="bench", channels=CHANNELS[: NETWORKS[preset][1]],
        working_space=LINEAR_REC709, footage_space=LINEAR_REC709,
        halo=network.halo, size_multiple=network.SIZE_MULTIPLE, keyframes=(), network={}, training={}, steps=0,
        losses={},
    )  # fmt: skip
    return export_model(network, info)


def stylized_frame(preset: str) -> Callable[[], object]:
    from fewstroke.engine.image import Image
    from fewstroke.engine.stylizer import Stylizer

    stylizer = Stylizer(exported(preset))
    source = pictures(HEIGHT, WIDTH, NETWORKS[preset][1]).source
    image, guide = Image(np.ascontiguousarray(source[..., :3])), source[..., 3:] if preset == "shown" else None
    return lambda: stylizer(image, guide=guide)


def training_step(preset: str) -> Callable[[], object]:
    from fewstroke.engine.config import NetworkConfig, TrainConfig
    from fewstroke.engine.train import Budget, Training

    kind, channels = NETWORKS[preset]
    network, config = NetworkConfig(kind, channels), TrainConfig.for_preset(kind)  # type: ignore[arg-type]
    training = Training([pictures(288, 512, channels)], network, config, exemplars=[1], device="cpu")
    return lambda: list(training.run(Budget(steps=training.step + 1)))


KINDS = {"eager": eager_frame, "stylizer": stylized_frame, "step": training_step}


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Medians over rounds in which each runs once, after one run each that does not count."""
    for run in runs.values():
        run()
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(rounds)]
    return {name: statistics.median(row[name] for row in times) for name in runs}


def peak_memory(kind: str, preset: str) -> float:
    """Megabytes, at the most, of a process that does one thing twice, less those of one that only gets ready."""
    sizes = []
    for repeats in ("2", "0"):
        command = [sys.executable, __file__, "--child", kind, preset, repeats]
        sizes.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return (sizes[0] - sizes[1]) / 1e6


def child(kind: str, preset: str, repeats: int) -> None:
    run = KINDS[kind](preset)
    for _ in range(repeats):
        run()
    print(high_water())


def high_water() -> int:
    """Bytes of this process at its largest. Not getrusage, whose figure it inherits from the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def cold_start(rounds: int) -> float:
    """From nothing to the first 960x540 frame on disk: the whole command, EXR in, EXR out."""
    import OpenImageIO as oiio

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shot.onnx").write_bytes(exported("fast"))
        spec = oiio.ImageSpec(WIDTH, HEIGHT, 3, "half")
        output = oiio.ImageOutput.create(str(folder / "plate.0001.exr"))
        assert output is not None
        output.open(str(folder / "plate.0001.exr"), spec)
        output.write_image(np.random.default_rng(0).random((HEIGHT, WIDTH, 3), np.float32))
        output.close()
        command = [sys.executable, "-m", "fewstroke.plugin.cli", "render", "--model", folder / "shot.onnx"]
        command += ["--footage", folder / "plate.####.exr", "--out", folder / "out.####.exr"]

        def run() -> object:
            return subprocess.run(list(map(str, command)), check=True, capture_output=True)

        return in_turn({"cold": run}, rounds)["cold"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], arguments.child[1], int(arguments.child[2]))
        return

    frame = in_turn(
        {
            "paper, eager": eager_frame("paper"),
            "paper": stylized_frame("paper"),
            "fast": stylized_frame("fast"),
            "shown": stylized_frame("shown"),
        },
        arguments.rounds,
    )
    step = in_turn({name: training_step(name) for name in NETWORKS}, arguments.rounds)
    frame_memory = peak_memory("eager", "paper"), peak_memory("stylizer", "fast"), peak_memory("stylizer", "shown")
    step_memory = [peak_memory("step", name) for name in NETWORKS]

    print(f"{os.cpu_count()} cores, {arguments.rounds} rounds, medians\n")
    print("| | paper | fast | ratio | shown | ratio |\n| --- | --- | --- | --- | --- | --- |")
    rows = [
        (
            f"{WIDTH}x{HEIGHT} frame; paper as published, in eager PyTorch",
            frame["paper, eager"],
            frame["fast"],
            frame["shown"],
            "s",
        ),
        (f"{WIDTH}x{HEIGHT} frame, all in the stylizer", frame["paper"], frame["fast"], frame["shown"], "s"),
        ("training step, 40 patches; paper of 32x32, fast of 16x16", step["paper"], step["fast"], step["shown"], "s"),
        ("memory for the frame; paper in eager PyTorch", *frame_memory, "MB"),
        ("memory for the training step", *step_memory, "MB"),
    ]
    for name, paper, fast, shown, unit in rows:
        print(
            f"| {name} | {paper:.3g} {unit} | {fast:.3g} {unit} | {paper / fast:.1f} "
            f"| {shown:.3g} {unit} | {paper / shown:.1f} |"
        )
    print(f"\nfrom a cold process to the first {WIDTH}x{HEIGHT} frame on disk: {cold_start(arguments.rounds):.2f} s")


if __name__ == "__main__":
    main()
