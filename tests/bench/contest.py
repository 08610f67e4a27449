"""Where we stand: everything that can paint a shot after one painted frame, on every shot there is, judged alike.

    python tests/bench/contest.py --data FOLDER --out FOLDER [--seconds 300 | --steps 700] [--threads 2]

writes table.md, plots/ and page.html to --out: a table per shot; how good each contestant is after so many seconds of
training; pictures near the key frame and far from it. Other invocations:

    ... --only paper fast --sequences bust walker        some of it
    ... --study patch batch --of plain fast              the paper's studies (Fig. 8): a number changed, all else equal
    ... --only 'fast rate=0.001' 'plain patch=48'        any number of NetworkConfig or TrainConfig
    ... --ebsynth 'ebsynth -style {style} -guide {keyframe} {footage} -output {out}'      a program of others

--data has sequences anywhere below it (see sequences.py), --score is the program that judges them; by default
tools/score.py beside --data. Finished contestants are kept in --out and are not run again, whatever the budget; delete
their folder to have them run again. So a run can be stopped at any time, and go on or be added to later.

Time runs only while a contestant trains, and each trains in a process of its own. On a machine with other work compare
by --steps, and then all seconds are the processor's: one step is 40 patches of 32x32 pixels, and whoever learns from
more at once gets as many fewer, `fast`, whose patches are of 16x16, four times as many. Every contestant works out the
motion of the shot for itself, so that `inputs` is honest; --cache FOLDER lets them share it.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import page
from contestants import EXTERNALS, FLOORS, Job, known
from sequences import Sequence, find_sequences

HERE = Path(__file__).resolve().parent

DEFAULT = (
    "paper", "fast", "plain", "full-frame", "noise", "erased", "occluded", "dropout-maps", "dropout-pixels",
    *FLOORS, *EXTERNALS,
)  # fmt: skip

MARKS = (15, 30, 60, 120, 300, 600, 1200)
"""Seconds of training after which a contestant is judged, as far as --seconds goes."""

STUDIES = {
    "batch": (5, 10, 20, 40, 80, 160),
    "patch": (12, 16, 24, 32, 48, 64, 96),
    "blocks": (1, 2, 4, 7),
    "filters": (16, 32, 64, 128),
    "rate": (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3),
}
"""Numbers of `TrainConfig` and `NetworkConfig`, and what they are set to; the paper's optimum is among them."""


def names_of(options: argparse.Namespace) -> list[str]:
    studies = [f"{base} {key}={value}" for base in options.of for key in options.study for value in STUDIES[key]]
    return studies if options.study and options.only is None else [*(options.only or DEFAULT), *studies]


def marks_of(options: argparse.Namespace) -> tuple[float, ...]:
    """When contestants are judged: see MARKS; of steps after each half."""
    if options.steps is not None:
        return tuple(sorted({max(1, options.steps >> halvings) for halvings in range(options.halvings + 1)}))
    return (*(mark for mark in MARKS if mark < options.seconds), options.seconds)


def run(sequence: Sequence, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The result of a contestant, found in --out or made now; {"skipped": why} or {"failed": why} if there is none."""
    out = options.out / sequence.name / name.replace(" ", ",")
    result = out / "result.json"
    if result.is_file():
        return json.loads(result.read_text())
    command = getattr(options, name) if name in EXTERNALS else ""
    if name in EXTERNALS and (why := _missing(command)):
        return {"skipped": f"{why}; give --{name}"}
    print(f"{sequence.name}: {name}", file=sys.stderr, flush=True)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "run.json").is_file():
        folder, marks = str(sequence.folder), marks_of(options)
        job = Job(name, folder, sequence.pairs, str(out), marks, options.steps is not None, options.threads, command)
        environment = {**os.environ, "FEWSTROKE_CACHE": str(options.cache or out / "cache")}
        if options.threads:
            environment["OMP_NUM_THREADS"] = str(options.threads)
        with (out / "log.txt").open("w") as log:
            child = [sys.executable, HERE / "contestants.py", json.dumps(asdict(job))]
            code = subprocess.run(child, stdout=log, stderr=log, env=environment).returncode
        shutil.rmtree(out / "cache", ignore_errors=True)
        if code:
            lines = (out / "log.txt").read_text().strip().splitlines()
            return {"failed": lines[-1] if lines else f"exit code {code}"}
    values = json.loads((out / "run.json").read_text())
    for number, mark in enumerate(values["marks"]):
        mark["scores"] = sequence.scores(out / str(number), options.score)
    whole = result.with_suffix(".tmp")
    whole.write_text(json.dumps(values, indent=1))
    whole.replace(result)
    return values


def _missing(command: str) -> str:
    """Why a program of others cannot be run; empty if it can."""
    if not command:
        return "no command"
    program = shlex.split(command)[0]
    return "" if shutil.which(program) else f"{program} is not there"


def contest(options: argparse.Namespace) -> Iterator[page.Result]:
    found = find_sequences(options.data, options.pairs)
    if missing := sorted(set(options.sequences or found) - set(found)) or (["a sequence"] if not found else []):
        sys.exit(f"contest: {missing[0]} is not below {options.data}; there: {', '.join(found) or 'nothing'}")
    for sequence in (found[name] for name in options.sequences or found):
        for name in names_of(options):
            yield sequence, name, run(sequence, name, options)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("build/contest"))
    parser.add_argument("--score", type=Path, help="by default tools/score.py beside --data")
    parser.add_argument("--sequences", nargs="+", help="by default all")
    parser.add_argument("--only", nargs="+", help=f"contestants; by default {', '.join(DEFAULT)}")
    parser.add_argument("--study", nargs="+", default=[], choices=STUDIES)
    parser.add_argument("--of", nargs="+", default=["fast"], help="whose numbers are studied; by default fast")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--seconds", type=float, default=300.0, help="of training, for each; by default 300")
    budget.add_argument("--steps", type=int, help="of training, for each, in place of seconds")
    parser.add_argument("--halvings", type=int, default=4, help="of the steps, at which they are judged too; default 4")
    parser.add_argument("--pairs", type=int, default=8, help="of neighbouring frames that are judged; by default 8")
    parser.add_argument("--threads", type=int, default=0, help="for each contestant; by default all cores")
    parser.add_argument("--cache", type=Path, help="a folder for the motion of the shots, which then all share")
    for name in EXTERNALS:
        variable = f"FEWSTROKE_{name.upper()}"
        parser.add_argument(f"--{name}", default=os.environ.get(variable, ""), help=f"a command; or set ${variable}")
    options = parser.parse_args()
    options.score = options.score or options.data.resolve().parent / "tools" / "score.py"
    if not options.score.is_file():
        sys.exit(f"contest: the program that judges, {options.score}, is not there; give --score")
    try:
        for name in names_of(options):
            known(name)
    except ValueError as error:
        sys.exit(f"contest: {error}")

    results: list[page.Result] = []
    code = 0
    try:
        for result in contest(options):
            results.append(result)
    except KeyboardInterrupt:
        print("contest: stopped; the same command goes on", file=sys.stderr)
        code = 130
    if results:
        page.write(options.out, results)
        print((options.out / "table.md").read_text())
    return code or int(any("failed" in result for _, _, result in results))


if __name__ == "__main__":
    sys.exit(main())
