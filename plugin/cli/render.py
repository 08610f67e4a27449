"""`fewstroke render`: a trained model over the frames of a shot."""

from typing import Annotated

import typer

from fewstroke.engine.sessions import Device, read_info
from fewstroke.engine.stylizer import TILE
from fewstroke.nodes.node import Node
from fewstroke.nodes.shot import as_trained, stylized

from .options import Footage, Frames, Jobs, Matte, Out, Vectors
from .sequence import write_sequence


def render(
    model: Annotated[str, typer.Option(help="The .onnx file that `fewstroke train` made.")],
    footage: Footage,
    out: Out,
    frames: Frames = None,
    matte: Matte = None,
    vectors: Vectors = None,
    footage_space: Annotated[
        str, typer.Option(help="Colour space of the footage. Default: that of the training footage.")
    ] = "",
    strength: Annotated[float, typer.Option(help="0 to 1: how much of the painting is mixed in.")] = 1.0,
    steadiness: Annotated[
        float, typer.Option(help="0 to 1: how far painted neighbours are averaged in, against flicker.")
    ] = 0.0,
    jobs: Jobs = None,
    tile: Annotated[int, typer.Option(min=16, help="Largest piece run at once, pixels; bounds memory.")] = TILE,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, tensorrt, directml or coreml.")] = Device.AUTO,
) -> None:
    """Paint every frame with a trained model, in any order."""
    facts = read_info(model)
    shot = as_trained(facts, footage, footage_space=footage_space, matte=matte, vectors=vectors)

    def build(threads: int) -> Node:
        return stylized(
            shot, model, strength=strength, steadiness=steadiness, device=device, threads=threads, tile=tile
        )

    write_sequence(build, shot.footage_node, out, frames=frames, jobs=jobs, working=facts.working_space)
