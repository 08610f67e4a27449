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
            value = ", ".join(f"{key} {_short(each)}" for key, each in value.items())
        elif isinstance(value, tuple | list):
            value = ", ".join(map(_short, value))
        lines.append(f"{name.replace('_', ' '):14} {'none' if value in (None, '') else _short(value)}")
    output.event("info", "\n".join(lines), model=model, **facts)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
