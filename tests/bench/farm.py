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
from collections.abc import Callable
from functools import partial
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
            jobs = "2" if processes == 1 else "1"
            shares = [["--chunk", f"{number}/{processes}", "--jobs", jobs] for number in range(1, processes + 1)]
            times.append(timed(graph, shares))
            got = contents(out)
            right = right or got
            assert got == right and len(got) == frames, f"{processes} processes gave other frames"
    print(f"{frames} frames of 960x540, {rounds} rounds, every file the same bit for bit")
    for processes, times in seconds.items():
        print(f"  {processes} processes: {told(times)} s")
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    print(f"  one process with two threads took this many times as long as two processes: {told(ratios)}")


def timed(graph: Path, shares: list[list[str]]) -> float:
    """Seconds that processes take side by side, each with its share of the frames."""
    start = time.perf_counter()
    running = [
        subprocess.Popen([*COMMAND, "render", str(graph), *share], stderr=subprocess.DEVNULL) for share in shares
    ]
    for process in running:
        assert process.wait() == 0
    return time.perf_counter() - start


def overhead(graph: Path, rounds: int) -> None:
    """One frame, asked for in three ways, each against the same frame in this process, right before it."""
    here, evaluate = load_graph(graph), Evaluator()
    socket = str(graph.parent / "s")
    subprocess.run([*TASK, "start", socket], check=True)
    evaluate(here, here.frames().last)  # the first frame of a process also lists the footage and fills caches
    with Worker([*COMMAND, "worker"]) as worker:
        ways: dict[str, Callable[[int], object]] = {
            "cold process": lambda frame: run(*COMMAND, "render", str(graph), f"--frames={frame}"),
            "task and warm worker": lambda frame: run(*TASK, "render", socket, str(graph), f"--frames={frame}"),
            "warm worker": lambda frame: worker.ask("render", graph=str(graph), frames=str(frame)).wait(),
        }
        beyond: dict[str, list[float]] = {name: [] for name in ways}
        for frame in range(1, 3 * rounds + 1):
            for name, ask in ways.items():
                warm = name != "cold process"
                # A warm worker has painted the frame already, and only writes it: what is asked is what asking costs.
                for make in (partial(evaluate, here), ask) if warm else ():
                    remake(graph, frame, make)
                alone = partial(evaluate if warm else Evaluator(), here)
                own = remake(graph, frame, alone)
                beyond[name].append(remake(graph, frame, ask) - own)
    subprocess.run([*TASK, "stop", socket], check=True)
    print("a task of one frame, beyond the frame itself")
    for name, times in beyond.items():
        print(f"  {name}: {told([1000 * seconds for seconds in times])} ms")


def remake(graph: Path, frame: int, make: Callable[[int], object]) -> float:
    """Seconds that it takes to make a frame that is not there."""
    (graph.parent / "out" / f"o.{frame:04d}.exr").unlink(missing_ok=True)
    start = time.perf_counter()
    make(frame)
    return time.perf_counter() - start


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def told(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    main()
