"""Options that several commands share, with one text each."""

from pathlib import Path
from typing import Annotated

import typer

Footage = Annotated[str, typer.Option(help="plate.####.exr, plate.%04d.png, a movie or one picture.")]
Out = Annotated[str, typer.Option(help="Where to write: out.####.exr, or .png, .tif, .jpg, .dpx.")]
Frames = Annotated[str | None, typer.Option(help="1001-1040, 1001-1040x2 or 1,5,9. Default: all there are.")]
Matte = Annotated[str | None, typer.Option(help="Region of interest, a sequence: outside, footage passes.")]
Vectors = Annotated[
    str | None, typer.Option(help="Rendered shots: EXR sequence with a motion-vector pass, used for estimated motion.")
]
FootageSpace = Annotated[str, typer.Option(help="Colour space of the footage, as ACEScg. Default: what the files say.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Frames at once. Default: one per core.")]
Chunk = Annotated[str | None, typer.Option(help="2/8: only the second of eight even parts of the frames.")]
Map = Annotated[list[str] | None, typer.Option("--map", help="THERE=HERE: where a path in the graph lies here.")]
PathRules = Annotated[Path | None, typer.Option("--path-mapping", help="The same, a rules file of OpenJobDescription.")]
