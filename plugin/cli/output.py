"""What the command says, to people or to programs.

People get short lines, and progress bars on a terminal only. Programs that pass `--json` get one JSON object per line
on standard output, each with an "event"; errors are events, too. OpenJobDescription's runners, with `--openjd`, get
lines that they take for progress, status and the reason of a failure.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

console = Console(stderr=True, highlight=False)


class Output:
    """The one place that prints.

    as_json    machine-readable lines instead of text for people
    as_openjd  lines for whoever runs this as a task of OpenJobDescription
    failed     whether an error has been said
    """

    def __init__(self) -> None:
        self.as_json = False
        self.as_openjd = False
        self.failed = False

    def event(self, event: str, text: str, *, progress: float | None = None, **facts: Any) -> None:
        """Something happened: `text` for people, `event` and `facts` for programs; `progress` of the whole, 0 to 1."""
        if self.as_json:
            print(json.dumps({"event": event, **facts}), flush=True)
        elif self.as_openjd:
            if progress is not None:
                print(f"openjd_progress: {100 * progress:.1f}")
            print(f"openjd_status: {' '.join(text.split())}", flush=True)
        else:
            console.print(text, markup=False, soft_wrap=True)

    def error(self, message: str, exit_code: int) -> None:
        self.failed = True
        if self.as_json:
            print(json.dumps({"event": "error", "message": message, "exit_code": exit_code}), flush=True)
        elif self.as_openjd:
            print(f"openjd_fail: {' '.join(message.split())}", flush=True)
        else:
            console.print(f"fewstroke: {message}", markup=False, soft_wrap=True)

    @property
    def has_bars(self) -> bool:
        return not (self.as_json or self.as_openjd) and sys.stderr.isatty()

    @contextmanager
    def bar(self, label: str, total: float | None = None) -> Iterator["Bar"]:
        """A progress bar on a terminal; elsewhere whatever is drawn on it goes nowhere."""
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
        with Progress(*columns, console=console, disable=not self.has_bars, transient=True) as progress:
            yield Bar(progress, progress.add_task(label, total=total, text=""))


class Bar:
    """A progress bar with a text behind it."""

    def __init__(self, progress: Progress, task: TaskID):
        self._progress, self._task = progress, task

    def show(self, completed: float, text: str, total: float | None = None) -> None:
        self._progress.update(self._task, completed=completed, text=text, total=total)


def duration(seconds: float | None) -> str:
    """Time for people: "1:05", or "?" where it is not known."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


output = Output()
