"""`fewstroke worker`: the process that hosts talk to."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def worker(
    socket: Annotated[Path | None, typer.Option(help="Listen on this Unix socket instead, to any number.")] = None,
) -> None:
    """Answer requests of a host: JSON lines on standard input and output (plugin/worker.py)."""
    # Here, since other commands do without all it needs.
    from fewstroke.plugin.worker import listen, run

    if socket is None:
        run(sys.stdin)
    else:
        listen(socket)
