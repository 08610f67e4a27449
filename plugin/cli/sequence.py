"""What all commands that write frames have in common."""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fewstroke.engine.errors import FrameMissingError, GraphError, ParameterError
from fewstroke.engine.frames import FrameRange
from fewstroke.nodes.node import Node
from fewstroke.nodes.read import Read
from fewstroke.nodes.render import finish_frames, prepare_frames
from fewstroke.nodes.write import Found, Write, discard_unfinished

from .interrupt import INTERRUPTED, interruptible
from .output import duration, output

WHY = {
    Found.MISSING: "",
    Found.WHOLE: ", was there",
    Found.DAMAGED: ", made again: it was damaged",
    Found.FOREIGN: ", made again: it was of another graph",
}


def write_sequence(
    build: Callable[[int], Write], *, frames: str | None = None, chunk: str | None = None, jobs: int | None = None
) -> None:
    """Writes every wanted frame that is not there yet, on threads, in any order, and says so.

    build  makes the last node, told how many threads one frame may use

    Raises FrameMissingError where a frame is not in the footage, ParameterError where the output cannot take all.
    """
    cores = os.cpu_count() or 1
    wanted = choose_frames(build(cores), frames, chunk)
    jobs = min(jobs or cores, max(1, len(wanted)))
    write = build(max(1, cores // jobs))
    report = Report(write, len(wanted))
    with interruptible(_last_act) as interrupt, output.bar("rendering", len(wanted)) as bar:
        for event in finish_frames(write, wanted, jobs=jobs, cancel=interrupt.cancel):
            bar.show(event.done, report.frame(event.frame, event.result))
        write.sweep()
    report.end()


def write_on_cluster(
    build: Callable[[int], Write],
    scheduler: str,
    graph: Path,
    *,
    frames: str | None,
    chunk: str | None,
    map: list[str],
    device: str,
) -> None:
    """As `write_sequence`, by the workers of a dask.distributed cluster."""
    try:
        from fewstroke.plugin.cluster import finish_on_cluster
    except ModuleNotFoundError as error:
        raise GraphError(f"--scheduler needs the package {error.name}; pip install 'fewstroke[dask]'") from None
    write = build(1)
    wanted = choose_frames(write, frames, chunk)
    report = Report(write, len(wanted))
    with interruptible(_last_act) as interrupt, output.bar("rendering", len(wanted)) as bar:
        for event in finish_on_cluster(scheduler, graph, wanted, map=map, device=device, cancel=interrupt.cancel):
            bar.show(event.done, report.frame(event.frame, event.result))
    report.end()


def prepare_sequence(
    build: Callable[[int], Write], *, frames: str | None = None, chunk: str | None = None, jobs: int | None = None
) -> None:
    """Works out what the cache keeps of every wanted frame."""
    write = build(1)
    wanted = choose_frames(write, frames, chunk)
    with interruptible(_last_act) as interrupt, output.bar("preparing", len(wanted)) as bar:
        for event in prepare_frames(write, wanted, jobs=jobs or os.cpu_count() or 1, cancel=interrupt.cancel):
            text = f"frame {event.frame}: motion and registrations are in the cache ({event.done}/{event.total})"
            bar.show(event.done, f"{event.done}/{event.total} frames")
            if not output.has_bars:
                facts = {"frame": event.frame, "done": event.done, "total": event.total}
                output.event("frame", text, progress=event.done / event.total, **facts)
    output.event("done", f"{len(wanted)} frames prepared", progress=1.0, frames=len(wanted))


def choose_frames(write: Write, frames: str | None, chunk: str | None) -> FrameRange:
    """The frames that are wanted, once they are known to be possible."""
    footage, *others = sources(write)
    available = write.frames()
    parse = FrameRange.from_openjd if output.as_openjd else FrameRange.parse
    wanted = parse(frames) if frames is not None else available
    if missing := [frame for frame in wanted if frame not in available]:
        raise FrameMissingError(
            f"frame {missing[0]} is not in the footage {footage.params.path}, which has {available}; render only "
            "frames that are there, or bring the missing ones back",
            path=footage.params.path,
            frame=missing[0],
        )
    for source in (footage, *others):
        if os.path.abspath(write.params.path) == os.path.abspath(source.params.path):
            raise ParameterError(
                f"the frames would be written over the footage, {source.params.path}; choose another name"
            )
    write.check(wanted)
    return wanted if chunk is None else wanted.chunk(*parse_chunk(chunk))


def parse_chunk(text: str) -> tuple[int, int]:
    """(number, count) from "2/8"."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None:
        raise ParameterError(f"'{text}' is no chunk; write it as 2/8, the second of eight")
    return int(match[1]), int(match[2])


def sources(node: Node) -> Iterator[Read]:
    """What a graph reads; the footage comes first."""
    if isinstance(node, Read):
        yield node
    for name in (*node.INPUTS, *node.OPTIONAL_INPUTS):
        if name in node.inputs:
            yield from sources(node.inputs[name])


class Report:
    """Says what becomes of frames, one line each, and in the end what was made anew and why."""

    def __init__(self, write: Write, total: int):
        self._write, self._total = write, total
        self._frames: dict[Found, list[int]] = {found: [] for found in Found}
        self._start = time.monotonic()

    def frame(self, frame: int, found: Found) -> str:
        """One frame is whole now; the short text for a bar."""
        self._frames[found].append(frame)
        done, seconds = sum(map(len, self._frames.values())), time.monotonic() - self._start
        left = seconds / done * (self._total - done)
        if not output.has_bars:
            path = str(self._write.path_of(frame))
            output.event(
                "frame",
                f"frame {frame}: {path}{WHY[found]} ({done}/{self._total})",
                progress=done / self._total,
                frame=frame,
                path=path,
                found=found,
                done=done,
                total=self._total,
                seconds_left=round(left, 2),
            )
        return f"{done}/{self._total} frames, {duration(left)} left"

    def end(self) -> None:
        """All are whole."""
        seconds = time.monotonic() - self._start
        text = f"{self._total} frames in {duration(seconds)}: {self._write.params.path}"
        for found, said in (
            (Found.WHOLE, "there already"),
            (Found.DAMAGED, "made again, damaged"),
            (Found.FOREIGN, "made again, of another graph"),
        ):
            if self._frames[found]:
                text += f"; {said}: {FrameRange.of(sorted(self._frames[found]))}"
        output.event(
            "done",
            text,
            progress=1.0,
            frames=self._total,
            seconds=round(seconds, 2),
            out=self._write.params.path,
            **{found: str(FrameRange.of(sorted(frames))) for found, frames in self._frames.items()},
        )


def _last_act() -> None:
    discard_unfinished()
    if not output.failed:
        output.error("interrupted; nothing is half-written", INTERRUPTED)
