"""`fewstroke render`: a graph over the frames of a shot; a saved one, or made of a trained model and footage."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from fewstroke.engine.errors import ParameterError
from fewstroke.engine.sessions import Device, read_info
from fewstroke.engine.stylizer import TILE
from fewstroke.nodes.graph import load_write, save_graph
from fewstroke.nodes.mapping import PathMapping
from fewstroke.nodes.node import Node
from fewstroke.nodes.shot import as_trained, stylized
from fewstroke.nodes.write import Write, WriteParams

from .options import Chunk, Frames, Jobs, Map, PathRules
from .output import output
from .sequence import prepare_sequence, write_on_cluster, write_sequence


def render(
    graph: Annotated[Path | None, typer.Argument(help="shot.json, a saved graph.")] = None,
    model: Annotated[str | None, typer.Option(help="The .onnx file that `fewstroke train` made.")] = None,
    footage: Annotated[str | None, typer.Option(help="plate.####.exr, plate.%04d.png, a movie or one picture.")] = None,
    out: Annotated[str | None, typer.Option(help="Where to write: out.####.exr, or .png, .tif, .jpg, .dpx.")] = None,
    matte: Annotated[str | None, typer.Option(help="Region of interest, a sequence: outside, footage passes.")] = None,
    vectors: Annotated[
        str | None,
        typer.Option(help="Rendered shots: EXR sequence with a motion-vector pass, used for estimated motion."),
    ] = None,
    footage_space: Annotated[
        str | None, typer.Option(help="Colour space of the footage. Default: that of the training footage.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="0 to 1: how much of the painting is mixed in. Default: 1.")
    ] = None,
    steadiness: Annotated[
        float | None, typer.Option(help="0 to 1: how far painted neighbours are averaged in, against flicker.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write the graph to this file, shot.json, and no frame.")] = None,
    frames: Frames = None,
    chunk: Chunk = None,
    map_: Map = None,
    path_mapping: PathRules = None,
    scheduler: Annotated[
        str | None, typer.Option(help="tcp://host:8786: let the workers of a dask.distributed cluster do it.")
    ] = None,
    jobs: Jobs = None,
    tile: Annotated[int, typer.Option(min=16, help="Largest piece run at once, pixels; bounds memory.")] = TILE,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, tensorrt, directml or coreml.")] = Device.AUTO,
) -> None:
    """Paint every frame that is not there yet, in any order: of a saved graph, or with a trained model."""
    decided = {
        "--model": model, "--footage": footage, "--out": out, "--matte": matte, "--vectors": vectors,
        "--footage-space": footage_space, "--strength": strength, "--steadiness": steadiness, "--save": save,
    }  # fmt: skip
    if graph is not None:
        if given := [name for name, value in decided.items() if value is not None]:
            raise ParameterError(f"{given[0]} is a matter of the graph {graph}; save the graph anew with it")
        build = saved(graph, map_, path_mapping, device=device, tile=tile)
    else:
        for name in ("--model", "--footage", "--out"):
            if decided[name] is None:
                raise ParameterError(f"{name} is missing; give it, or a saved graph in place of all")
        if map_ or path_mapping:
            raise ParameterError("--map and --path-mapping are for a saved graph; give the paths as they are here")
        assert model is not None and footage is not None and out is not None
        facts = read_info(model)
        shot = as_trained(facts, footage, footage_space=footage_space or "", matte=matte, vectors=vectors)
        look = {"strength": 1.0 if strength is None else strength, "steadiness": steadiness or 0.0}
        paint = partial(stylized, shot, model, **look, device=device, tile=tile)
        build = _written(paint, WriteParams(out, working=facts.working_space))

    if scheduler is not None:
        if graph is None:
            raise ParameterError("--scheduler takes a saved graph, which its workers can read; make one with --save")
        if path_mapping is not None:
            raise ParameterError("--scheduler knows no --path-mapping; give --map, which goes for all its workers")
        write_on_cluster(build, scheduler, graph.absolute(), frames=frames, chunk=chunk, map=map_ or [], device=device)
    elif save is not None:
        save_graph(build(1), save)
        output.event("saved", f"the graph is {save}; render it with `fewstroke render {save}`", graph=str(save))
    else:
        write_sequence(build, frames=frames, chunk=chunk, jobs=jobs)


def prepare(
    graph: Annotated[Path, typer.Argument(help="shot.json, a saved graph.")],
    frames: Frames = None,
    chunk: Chunk = None,
    map_: Map = None,
    path_mapping: PathRules = None,
    jobs: Jobs = None,
) -> None:
    """Work out motion, registrations and grain of frames into the cache, so that rendering them finds them there."""
    prepare_sequence(saved(graph, map_, path_mapping), frames=frames, chunk=chunk, jobs=jobs)


def saved(graph: Path, map_: list[str] | None, rules: Path | None, **running: Any) -> Callable[[int], Write]:
    """What makes a saved graph."""
    mapping = PathMapping.parse(map_ or [])
    if rules is not None:
        mapping += PathMapping.read_openjd(rules)
    return lambda threads: load_write(graph, mapping=mapping, threads=threads, **running)


def _written(paint: Callable[..., Node], params: WriteParams) -> Callable[[int], Write]:
    return lambda threads: Write(params, image=paint(threads=threads))
