"""`fewstroke render`: a trained model over the frames of a shot."""

import os
import time
from typing import Annotated

import typer

from fewstroke.engine.errors import ImageError, ParameterError
from fewstroke.engine.frames import FrameRange
from fewstroke.engine.sessions import Device, read_info
from fewstroke.engine.stylizer import TILE
from fewstroke.nodes.render import render_frames
from fewstroke.nodes.shot import as_trained, stylized
from fewstroke.nodes.write import Write, WriteParams

from .interrupt import interruptible
from .output import duration, output


def render(
    model: Annotated[str, typer.Option(help="The .onnx file that `fewstroke train` made.")],
    footage: Annotated[str, typer.Option(help="plate.####.exr, plate.%04d.png, a movie or one picture.")],
    out: Annotated[str, typer.Option(help="Where to write: out.####.exr, or .png, .tif, .jpg, .dpx.")],
    frames: Annotated[str | None, typer.Option(help="1001-1040, 1001-1040x2 or 1,5,9. Default: all there are.")] = None,
    matte: Annotated[str | None, typer.Option(help="Region of interest, a sequence: outside, footage passes.")] = None,
    footage_space: Annotated[
        str | None, typer.Option(help="Colour space of the footage. Default: that of the training footage.")
    ] = None,
    strength: Annotated[float, typer.Option(help="0 to 1: how much of the painting is mixed in.")] = 1.0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Frames at once. Default: one per core.")] = None,
    tile: Annotated[int, typer.Option(min=16, help="Largest piece run at once, pixels; bounds memory.")] = TILE,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, tensorrt, directml or coreml.")] = Device.AUTO,
) -> None:
    """Paint every frame with a trained model, in any order."""
    cores = os.cpu_count() or 1
    facts = read_info(model)
    shot = as_trained(facts, footage, footage_space=footage_space or "", matte=matte)
    node = stylized(shot, model, strength=strength, device=device, threads=max(1, cores // (jobs or cores)), tile=tile)
    available = node.frames()
    wanted = FrameRange.parse(frames) if frames else available
    missing = [frame for frame in wanted if frame not in available]
    if missing:
        raise ImageError(
            f"frame {missing[0]} is not in the footage {footage}, which has {available}; render only frames that are "
            "there, or bring the missing ones back",
            path=footage,
            frame=missing[0],
        )
    write = Write(WriteParams(out, working=facts.working_space), image=node)
    write.check(wanted)
    if os.path.abspath(out) == os.path.abspath(footage):
        raise ParameterError("--out is the footage itself; choose another name, so that the footage stays")

    start = time.monotonic()
    jobs = min(jobs or cores, len(wanted))
    with interruptible() as interrupt, output.bar("rendering", len(wanted)) as bar:
        for event in render_frames(write, wanted, jobs=jobs, cancel=interrupt.cancel):
            seconds = time.monotonic() - start
            left = seconds / event.done * (event.total - event.done)
            bar.show(event.done, f"{event.done}/{event.total} frames, {duration(left)} left")
            path = str(write.path_of(event.frame))
            if not output.has_bars:
                output.event(
                    "frame", f"frame {event.frame}: {path} ({event.done}/{event.total})",
                    frame=event.frame, path=path, done=event.done, total=event.total, seconds_left=round(left, 2),
                )  # fmt: skip
    seconds = time.monotonic() - start
    output.event(
        "done",
        f"{len(wanted)} frames in {duration(seconds)}: {out}",
        frames=len(wanted), seconds=round(seconds, 2), out=out,
    )  # fmt: skip
