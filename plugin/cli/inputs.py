"""`fewstroke filter`, `guide` and `stmap`: what the network is shown, as sequences of their own."""

from typing import Annotated

import typer

from fewstroke.nodes.guide import GuideParams
from fewstroke.nodes.node import Node
from fewstroke.nodes.prefilter import PrefilterParams
from fewstroke.nodes.shot import Shot
from fewstroke.nodes.stmap import STMap, STMapParams
from fewstroke.nodes.write import Write, WriteParams

from .options import Chunk, Footage, FootageSpace, Frames, Jobs, Matte, Out, Vectors
from .sequence import write_sequence


def filter_(
    footage: Footage,
    out: Out,
    frames: Frames = None,
    chunk: Chunk = None,
    strength: Annotated[float, typer.Option(help="0 to 1: how much of the filtered picture is taken.")] = 1.0,
    radius: Annotated[int, typer.Option(help="Frames before and after that are averaged.")] = PrefilterParams.radius,
    noise: Annotated[float, typer.Option(help="Noise, in 1/255 of the encoded value. Default: measured.")] = 0.0,
    spatial: Annotated[int, typer.Option(help="Radius of the filter in space, pixels.")] = PrefilterParams.spatial,
    vectors: Vectors = None,
    footage_space: FootageSpace = "",
    jobs: Jobs = None,
) -> None:
    """Take the noise out of a shot along its motion (the temporal prefilter)."""
    prefilter = PrefilterParams(strength, radius, noise, spatial)
    shot = Shot(footage, footage_space, vectors=vectors, prefilter=prefilter)
    _write(shot, shot.source_node, out, frames, chunk, jobs)


def guide(
    footage: Footage,
    keyframe: Annotated[int, typer.Option(help="The painted frame, over which the points are strewn.")],
    out: Out,
    frames: Frames = None,
    chunk: Chunk = None,
    spacing: Annotated[float, typer.Option(help="Distance of points, pixels at height 288.")] = GuideParams.spacing,
    sigma: Annotated[float, typer.Option(help="Size of the Gaussians, pixels at height 288.")] = GuideParams.sigma,
    seed: Annotated[int, typer.Option(min=0, help="Of places and colours.")] = 0,
    matte: Matte = None,
    vectors: Vectors = None,
    footage_space: FootageSpace = "",
    jobs: Jobs = None,
) -> None:
    """Draw the guide layer: coloured points that stick to what moves."""
    shot = Shot(footage, footage_space, matte, vectors, guide=GuideParams(keyframe, spacing, sigma, seed))
    assert shot.guide_node is not None
    _write(shot, shot.guide_node, out, frames, chunk, jobs)


def stmap(
    footage: Footage,
    keyframe: Annotated[int, typer.Option(help="The frame that is to be found again.")],
    out: Out,
    frames: Frames = None,
    chunk: Chunk = None,
    matte: Matte = None,
    vectors: Vectors = None,
    jobs: Jobs = None,
) -> None:
    """Say where each pixel lies in the key frame: an ST map with confidence, as 32-bit EXR."""
    shot = Shot(footage, matte=matte, vectors=vectors)
    node = STMap(STMapParams((keyframe,)), shot.footage_node, shot.matte_node, shot.vectors_node)
    _write(shot, node, out, frames, chunk, jobs, depth="float")


def _write(
    shot: Shot, node: Node, out: str, frames: str | None, chunk: str | None, jobs: int | None, depth: str = "half"
) -> None:
    write = Write(WriteParams(out, working=shot.footage_node.working(), depth=depth), image=node)
    write_sequence(lambda threads: write, frames=frames, chunk=chunk, jobs=jobs)
