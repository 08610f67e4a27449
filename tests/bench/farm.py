"""What a farm costs: `python tests/bench/farm.py [--frames 200]`.

Renders the same frames in 1, 2 and 4 processes and in a warm worker, compares every file bit for bit, and says

- efficiency: the time of one process with two threads against that of two processes, a thread each, on two cores;
- the overhead of a task of one frame: from the start of the process to its end, less the frame's own time, cold
  (`fewstroke render shot.json`) and warm (`fewstroke.plugin.task` and a worker; and in the worker alone).

Every pair is run side by side, several times, and the medians are told with the smallest and largest.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "engine"), str(ROOT / "tests" / "plugin")]

from farms import COMMAND, TASK, contents, make_shot  # noqa: E402

from fewstroke.nodes.graph import load_graph  # noqa: E402
from fewstroke.nodes.render import Evaluator  # noqa: E402
from fewstroke.plugin.client import Worker  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="of the pairs that are compared")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FEWSTROKE_CACHE"] = str(folder / "cache")
        graph = make_shot(folder, given.frames, 960, 540, prefilter=False)
        throughput(graph, given.frames, given.rounds)
        overhead(graph, given.rounds)


def throughput(graph: Path, frames: int, rounds: int) -> None:
    """The same frames in several ways, in every round."""
    out = graph.parent / "out"
    seconds: dict[int, list[float]] = {1: [], 2: [], 4: []}
    right: dict[str, bytes] = {}
    for _ in range(rounds):
        for processes, times in seconds.items():
            shutil.rmtree(out, ignore_errors=True)
            jobs = 2 if processes == 1 else 1
            times.append(
                timed(
                    *(["--chunk", f"{n}/{processes}", "--jobs", str(jobs)] for n in range(1, processes + 1)),
                    graph=graph,
                )
            )
            got = contents(out)
            right = right or got
            assert got == right and len(got) == frames, f"{processes} processes gave other frames"
    print(f"{frames} frames of 960x540, {rounds} rounds, every file the same bit for bit")
    for processes, times in seconds.items():
        print(f"  {processes} processes: {told(times)} s, {told([t / frames * 1000 for t in times])} ms a frame")
    print(
        f"  1 process of 2 threads / 2 processes: {told([a / b for a, b in zip(seconds[1], seconds[2], strict=True)])}"
    )


def timed(*shares: list[str], graph: Path) -> float:
    """Seconds that processes take side by side, each with its share of the frames and of two threads."""
    start = time.perf_counter()
    running = [
        subprocess.Popen([*COMMAND, "render", str(graph), *share], stderr=subprocess.DEVNULL) for share in shares
    ]
    for process in running:
        assert process.wait() == 0
    return time.perf_counter() - start


def overhead(graph: Path, rounds: int) -> None:
    write = load_graph(graph, threads=os.cpu_count() or 1)
    evaluate = Evaluator()
    cold, task, worker = [], [], []
    socket = graph.parent / "s"
    subprocess.run([*TASK, "start", str(socket)], check=True)
    with Worker([*COMMAND, "worker"]) as asked:
        for number in range(3 * rounds):
            frame = 1 + number
            for path in (graph.parent / "out").iterdir():
                path.unlink()
            evaluate(write, frame + 50)
            own = measured(lambda: evaluate(write, frame))
            (graph.parent / "out" / f"o.{frame:04d}.exr").unlink()
            cold.append(measured(lambda: run(COMMAND, "render", str(graph), f"--frames={frame}")) - own)
            for times, ask in (
                (task, lambda: run(TASK, "render", str(socket), str(graph), f"--frames={frame}")),
                (worker, lambda: asked.ask("render", graph=str(graph), frames=str(frame)).wait()),
            ):
                ask()  # the model is loaded, the footage known
                (graph.parent / "out" / f"o.{frame:04d}.exr").unlink()
                again = measured(lambda: evaluate(write, frame))
                (graph.parent / "out" / f"o.{frame:04d}.exr").unlink()
                times.append(measured(ask) - again)
    subprocess.run([*TASK, "stop", str(socket)], check=True)
    print("overhead of a task of one frame, beyond the frame itself")
    for name, times in (("cold process", cold), ("task and warm worker", task), ("within the worker", worker)):
        print(f"  {name}: {told([1000 * t for t in times])} ms")


def run(command: list[str], *arguments: str) -> None:
    subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measured(action: object) -> float:
    start = time.perf_counter()
    action()  # type: ignore[operator]
    return time.perf_counter() - start


def told(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    main()
