"""`fewstroke info`: what a model says of itself."""

from dataclasses import asdict
from typing import Annotated

import typer

from fewstroke.engine.sessions import read_info

from .output import output


def info(model: Annotated[str, typer.Argument(help="The .onnx file.")]) -> None:
    """Print every fact about a model."""
    facts = asdict(read_info(model))
    lines = []
    for name, value in facts.items():
        if name == "keyframes":
            value = "; ".join(f"{key['frame']} ({key['painting']}, {key['digest'][:8]})" for key in value)
        elif isinstance(value, dict):
            value = ", ".join(f"{k} {f'{v:.4g}' if isinstance(v, float) else v}" for k, v in value.items())
        elif isinstance(value, tuple | list):
            value = ", ".join(map(str, value))
        lines.append(f"{name.replace('_', ' '):14} {'none' if value is None else value}")
    output.event("info", "\n".join(lines), model=model, **facts)
