"""What a graphics card makes of it: frames a second, and training steps, beside the processor of the same machine.

    python tests/bench/card.py [--seconds 2]

Prints two Markdown tables. Needs an NVIDIA card, a PyTorch that knows it, and onnxruntime-gpu. Frames go in and come
out as NumPy arrays, through `Stylizer` as everywhere; "threads" is how many frames are painted side by side, as
`fewstroke render --jobs` does. Networks are random, and `fast` has guide, ST map and exemplar.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from presets import NETWORKS, exported, pictures

THREADS = (1, 4, 8)
SIZES = ((288, 512), (540, 960), (1080, 1920), (640, 640))
MASKED = 640, 640
"""The size that has a matte, a disc of a tenth of it."""


def painting(model: bytes, device: str, height: int, width: int) -> Callable[[], object]:
    """Paints one frame."""
    from fewstroke.engine.image import Image
    from fewstroke.engine.stylizer import Stylizer

    source = pictures(height, width, 9).source
    image, guide = (np.ascontiguousarray(part) for part in (source[..., :3], source[..., 3:]))
    mask = None
    if (height, width) == MASKED:
        ys, xs = np.mgrid[:height, :width]
        mask = ((ys - height / 2) ** 2 + (xs - width / 2) ** 2 < 0.1 * height * width / np.pi).astype(np.float32)
    stylizer = Stylizer(model, device=device)
    return lambda: stylizer(Image(image), guide=guide, mask=mask)


def per_second(run: Callable[[], object], threads: int, seconds: float) -> float:
    """How often it runs, in so many threads at once."""

    def work() -> int:
        count = 0
        while time.perf_counter() < end:
            run()
            count += 1
        return count

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: run(), range(2 * threads)))  # memory is found, algorithms are chosen
        start = time.perf_counter()
        end = start + seconds
        count = sum(each.result() for each in [pool.submit(work) for _ in range(threads)])
    return count / (time.perf_counter() - start)


def steps_per_second(preset: str, device: str, seconds: float) -> float:
    from fewstroke.engine.config import NetworkConfig, TrainConfig
    from fewstroke.engine.train import Budget, Training

    kind, channels = NETWORKS[preset]
    network, config = NetworkConfig(kind, channels), TrainConfig.for_preset(kind)  # type: ignore[arg-type]
    training = Training([pictures(288, 512, channels)], network, config, exemplars=[1], device=device)
    list(training.run(Budget(steps=10 if device == "cuda" else 2)))
    first, start = training.step, time.perf_counter()
    list(training.run(Budget(seconds=seconds)))
    return (training.step - first) / (time.perf_counter() - start)


def main() -> None:
    import onnxruntime as ort
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure; by default 2")
    seconds = parser.parse_args().seconds
    if not torch.cuda.is_available() or "CUDAExecutionProvider" not in ort.get_available_providers():
        sys.exit("card: there is no NVIDIA card here, or PyTorch or ONNX Runtime do not know it")

    print(f"{torch.cuda.get_device_name()}, {os.cpu_count()} cores; PyTorch {torch.__version__}, ", end="")
    print(f"ONNX Runtime {ort.__version__}\n")
    model = exported("shown")
    print("| frames a second of `fast` | processor |", " | ".join(f"card, {each} threads" for each in THREADS), "|")
    print("| --- " * (2 + len(THREADS)) + "|")
    for height, width in SIZES:
        name = f"{width}x{height}" + (", a tenth of it masked" if (height, width) == MASKED else "")
        runs = {device: painting(model, device, height, width) for device in ("cpu", "cuda")}
        figures = [per_second(runs["cpu"], 1, seconds), *(per_second(runs["cuda"], n, seconds) for n in THREADS)]
        print(f"| {name} |", " | ".join(f"{each:.0f}" for each in figures), "|", flush=True)
    print("\n| training steps a second | processor | card | ratio |\n| --- | --- | --- | --- |")
    for preset, name in (("paper", "`paper`"), ("shown", "`fast`")):
        processor, card = (steps_per_second(preset, device, seconds) for device in ("cpu", "cuda"))
        print(f"| {name} | {processor:.1f} | {card:.0f} | {card / processor:.0f} |", flush=True)


if __name__ == "__main__":
    main()
