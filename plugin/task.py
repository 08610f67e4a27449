"""A farm's task and its warm worker: `python -m fewstroke.plugin.task start|prepare|render|stop`.

A farm starts a process per task. This one starts in a few hundredths of a second, since it needs the standard library
alone, and asks a worker that outlives it (`fewstroke worker --socket`, see worker.py), which has the model loaded and
the last frames in memory. Sessions of OpenJobDescription start that worker when they begin and stop it when they end;
where it has died meanwhile, the next task starts another.

What it prints is what OpenJobDescription's runners read: openjd_progress, openjd_status, openjd_fail. Exit codes are
those of the `fewstroke` command.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from fewstroke.plugin.client import connect, log_of

INTERRUPTED = 130
WORKER = (sys.executable, "-m", "fewstroke.plugin.cli", "worker")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="fewstroke.plugin.task", description="A farm's task and its warm worker.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "prepare", "render", "stop"):
        commands.add_parser(name).add_argument("socket", type=Path)
    for name in ("prepare", "render"):
        command = commands.choices[name]
        command.add_argument("graph")
        command.add_argument("--frames", default="", help="as OpenJobDescription writes them: 1001-1040:2")
        command.add_argument("--map", action="append", default=[], metavar="THERE=HERE")
        command.add_argument("--path-mapping", default="", metavar="FILE")
    given = vars(parser.parse_args(arguments))
    command, path = given.pop("command"), given.pop("socket")
    try:
        if command == "stop":
            return stop(path)
        with connect(path, WORKER) as connection:
            return 0 if command == "start" else ask(connection, {"do": command, "syntax": "openjd", **given})
    except OSError as error:
        return fail(f"the worker at {path} cannot be asked ({error}); its last words are in {log_of(path)}")


def ask(connection: socket.socket, request: dict[str, Any]) -> int:
    """Sends a request and passes on what is answered; the exit code."""

    def interrupted(number: int, frame: Any) -> None:
        # Hanging up cancels the request; the worker writes whole files or none, so there is nothing to wait for.
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(1, b"openjd_status: interrupted; nothing is half-written\n")
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    connection.sendall(json.dumps({"id": 1, **request}).encode() + b"\n")
    with connection.makefile("r", encoding="utf-8") as answers:
        for line in answers:
            event = json.loads(line)
            if event["event"] == "frame":
                print(f"openjd_progress: {100 * event['done'] / event['total']:.1f}")
                was = f": {event['path']} ({event['found']})" if "path" in event else ""
                print(f"openjd_status: frame {event['frame']}{was}", flush=True)
            elif event["event"] == "done":
                said = ", ".join(f"{kind} {event[kind]}" for kind in ("whole", "damaged", "foreign") if event.get(kind))
                print(f"openjd_status: done{'; found ' + said if said else ''}", flush=True)
                return 0
            elif event["event"] == "error":
                return fail(event["message"], 2 if event["kind"] == "ParameterError" else 1)
            elif event["event"] == "cancelled":
                return INTERRUPTED
    return fail("the worker died in the middle of the task; run the task again, whole frames will be left alone")


def stop(path: Path) -> int:
    """Ends the worker, if there is one, and waits until it hangs up."""
    with contextlib.suppress(OSError), connect(path) as connection:
        connection.sendall(b'{"id": 1, "do": "quit"}\n')
        while connection.recv(4096):
            pass
    return 0


def fail(message: str, code: int = 1) -> int:
    print(f"openjd_fail: {' '.join(message.split())}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
