"""The `fewstroke` command. Exit codes: 0 done, 1 failed, 2 bad arguments, 130 interrupted."""

import os
import sys

import typer

from fewstroke.engine.errors import CancelledError, FewstrokeError, ParameterError

from .cache import cache
from .info import info
from .inputs import filter_, guide, stmap
from .interrupt import INTERRUPTED
from .output import output
from .render import prepare, render
from .train import train
from .tune import tune
from .worker import worker

app = typer.Typer(
    name="fewstroke",
    help="Paint a few frames of a shot; every other frame is painted the same way.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(train)
app.command()(tune)
app.command()(render)
app.command()(prepare)
app.command()(info)
app.command("filter")(filter_)
app.command()(guide)
app.command()(stmap)
app.command()(cache)
app.command()(worker)


def run() -> None:
    """The entry point: `--json` and `--openjd` may stand anywhere, and no mistake of a user ends in a traceback."""
    arguments = sys.argv[1:]
    output.as_json, output.as_openjd = "--json" in arguments, "--openjd" in arguments
    code = main([argument for argument in arguments if argument not in ("--json", "--openjd")])
    if code == INTERRUPTED:
        # What was told to stop does not take a second to tidy up its interpreter.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(arguments: list[str]) -> int:
    """Runs the command with these arguments; its exit code."""
    try:
        code = app(arguments, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as exit_:
        return exit_.exit_code
    except typer.TyperException as error:
        output.error(f"{str(error).rstrip('.')}; see `fewstroke --help`", 2)
        return 2
    except ParameterError as error:
        output.error(str(error), 2)
        return 2
    except (CancelledError, KeyboardInterrupt, typer.Abort):
        output.error("interrupted; nothing is half-written", INTERRUPTED)
        return INTERRUPTED
    except FewstrokeError as error:
        output.error(str(error), 1)
        return 1
