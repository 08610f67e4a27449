"""Frames of a saved graph on a dask.distributed cluster, for a few machines without a farm manager.

The scheduler hands chunks to its workers, and again to others where one dies; results go to the storage that all share.
Only plain values travel, never classes of ours, so that workers need the same Fewstroke but nothing from the asker.
"""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed import Client, Event, Future, KilledWorker, get_client, get_worker

from fewstroke.engine.errors import CancelledError, FewstrokeError, GraphError
from fewstroke.engine.frames import FrameRange
from fewstroke.nodes.graph import load_write
from fewstroke.nodes.mapping import PathMapping
from fewstroke.nodes.node import Cancel
from fewstroke.nodes.render import FrameDone, finish_frames
from fewstroke.nodes.write import Found

CHUNK = 8
"""Frames of a task at most: neighbours share their motion, and a worker that dies loses no more than these."""

LOOK_SECONDS = 0.1


def finish_on_cluster(
    scheduler: str, graph: Path, frames: FrameRange, *, map: list[str], device: str, cancel: Cancel
) -> Iterator[FrameDone]:
    """As `finish_frames`, chunk by chunk on the workers of a cluster.

    graph  its path, as the workers have it; where they have other paths, `map` says so, for all of them

    Raises GraphError where the cluster cannot be reached or a chunk fails.
    """
    try:
        client = Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise GraphError(
            f"the scheduler {scheduler} does not answer ({error}); check that `dask scheduler` runs there"
        ) from None
    with client:
        stop = Event(f"fewstroke-{uuid.uuid4().hex}", client=client)
        # Twice as many chunks as there are threads at least, so that none waits for the slowest for long.
        threads = sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()) or 1
        count = max(-(-len(frames) // CHUNK), min(len(frames), 2 * threads))
        chunks = [frames.chunk(number, count) for number in range(1, count + 1)]
        waiting = [
            client.submit(render_chunk, str(graph), list(chunk), map, device, stop.name, pure=False) for chunk in chunks
        ]
        done = 0
        try:
            while waiting:
                cancel()
                ready = [future for future in waiting if future.done()]
                waiting = [future for future in waiting if future not in ready]
                for frame, found in (pair for future in ready for pair in _result(future)):
                    done += 1
                    yield FrameDone(frame, Found(found), done, len(frames))
                time.sleep(LOOK_SECONDS)
        finally:
            if waiting:
                stop.set()
                client.cancel(waiting)


def render_chunk(graph: str, frames: list[int], map: list[str], device: str, stop: str) -> dict[str, Any]:
    """What a worker does: {"frames": [(frame, what was found in its place), ...]}, or {"error": a sentence}.

    stop  name of the event that ends it after the frame that it is at
    """
    stopped = Event(stop, client=get_client())
    threads = max(1, (os.cpu_count() or 1) // get_worker().state.nthreads)
    done = []
    try:
        write = load_write(Path(graph), mapping=PathMapping.parse(map), device=device, threads=threads)
        for event in finish_frames(write, frames):
            done.append((event.frame, str(event.result)))
            if stopped.is_set():
                break
    except FewstrokeError as error:
        return {"error": str(error)}
    return {"frames": done}


def _result(future: "Future[Any]") -> list[tuple[int, str]]:
    if future.cancelled():
        raise CancelledError("the scheduler cancelled the frames")
    try:
        answer = future.result()
    except KilledWorker as error:
        raise GraphError(f"a chunk was given up, since its workers died one after another: {error}") from None
    if "error" in answer:
        raise GraphError(answer["error"])
    return answer["frames"]
