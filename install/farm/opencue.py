"""OpenCue: `python install/farm/opencue.py shot.json 1001-1040` submits the frames of a saved graph in chunks.

A frame of OpenCue is a chunk of ours; the machines of the farm need the `fewstroke` command and nothing of this file.
Frames that are whole already are left alone, so whatever failed may be retried.
"""

import sys

from outline import Outline, cuerun
from outline.modules.shell import Shell

from fewstroke.engine.frames import FrameRange

CHUNK = 8
"""Frames of a task: neighbours share their motion, so several are cheaper than one at a time."""


def job(graph: str, frames: FrameRange) -> Outline:
    """The outline that renders frames of a graph."""
    count = -(-len(frames) // CHUNK)
    outline = Outline("fewstroke", frame_range=f"1-{count}")
    # A frame of OpenCue's puts its number in place of %{FRAME}.
    command = ["fewstroke", "render", graph, f"--frames={frames}", f"--chunk=%{{FRAME}}/{count}"]
    outline.add_layer(Shell("paint", command=command, range=f"1-{count}"))
    return outline


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    cuerun.launch(job(sys.argv[1], FrameRange.parse(sys.argv[2])), use_pycuerun=True)
