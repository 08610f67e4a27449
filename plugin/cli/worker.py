"""`fewstroke worker`: the process that hosts talk to."""

import sys


def worker() -> None:
    """Answer requests of a host: JSON lines on standard input and output (plugin/worker.py)."""
    # Here, since other commands do without all it needs.
    from fewstroke.plugin.worker import run

    run(sys.stdin)
