"""What all commands that write frames have in common."""

import os
import time
from collections.abc import Callable

from fewstroke.engine.errors import ImageError, ParameterError
from fewstroke.engine.frames import FrameRange
from fewstroke.nodes.node import Node
from fewstroke.nodes.read import Read
from fewstroke.nodes.render import render_frames
from fewstroke.nodes.write import Write, WriteParams

from .interrupt import interruptible
from .output import duration, output


def write_sequence(
    build: Callable[[int], Node],
    footage: Read,
    out: str,
    *,
    frames: str | None,
    jobs: int | None,
    working: str,
    depth: str = "half",
) -> None:
    """Writes every wanted frame of a node, on threads, in any order, and says so.

    build    makes the node, told how many threads one frame may use
    working  the scene-linear space of its result
    depth    of the files, where their format leaves a choice

    Raises ImageError where a frame is not in the footage, ParameterError where `out` cannot take the frames.
    """
    available = footage.frames()
    wanted = FrameRange.parse(frames) if frames is not None else available
    if missing := [frame for frame in wanted if frame not in available]:
        raise ImageError(
            f"frame {missing[0]} is not in the footage {footage.params.path}, which has {available}; render only "
            "frames that are there, or bring the missing ones back",
            path=footage.params.path,
            frame=missing[0],
        )
    if os.path.abspath(out) == os.path.abspath(footage.params.path):
        raise ParameterError("--out is the footage itself; choose another name, so that the footage stays")
    cores = os.cpu_count() or 1
    jobs = min(jobs or cores, len(wanted))
    write = Write(WriteParams(out, working=working, depth=depth), image=build(max(1, cores // jobs)))
    write.check(wanted)

    start = time.monotonic()
    with interruptible() as interrupt, output.bar("rendering", len(wanted)) as bar:
        for event in render_frames(write, wanted, jobs=jobs, cancel=interrupt.cancel):
            seconds = time.monotonic() - start
            left = seconds / event.done * (event.total - event.done)
            bar.show(event.done, f"{event.done}/{event.total} frames, {duration(left)} left")
            path = str(write.path_of(event.frame))
            if not output.has_bars:
                output.event(
                    "frame",
                    f"frame {event.frame}: {path} ({event.done}/{event.total})",
                    frame=event.frame,
                    path=path,
                    done=event.done,
                    total=event.total,
                    seconds_left=round(left, 2),
                )
    seconds = time.monotonic() - start
    text = f"{len(wanted)} frames in {duration(seconds)}: {out}"
    output.event("done", text, frames=len(wanted), seconds=round(seconds, 2), out=out)
