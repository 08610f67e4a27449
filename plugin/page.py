"""What a search for settings found, as a page with plots, and as the file that `fewstroke train --config` takes."""

import io
import json
import shlex
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fewstroke.engine.checkpoint import write_atomically
from fewstroke.engine.errors import FewstrokeError

from .study import LOGARITHMIC, Result, Study, Value, default_parameters, settings_of

SETTINGS = "settings.json"
BEST, OWN, OTHERS = "#c8102e", "#1f5fa8", "#8a8a8a"
"""Colours of the best candidate, the preset's own settings, and all others."""


def write_page(study: Study, folder: Path) -> Path:
    """Writes index.html, search.png and settings.json of a study, each in one piece; the path of the first.

    Raises FewstrokeError where no candidate has been trained yet, TrainingError where it cannot be written.
    """
    best = study.best()
    if best is None:
        raise FewstrokeError(
            f"the study {study.path} has no result yet, so there is nothing to report; go on searching"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FewstrokeError(f"the folder {folder} cannot be made ({error.strerror}); choose another") from None
    preset, seed = study.options["--preset"], study.options["--seed"]
    settings = settings_of(preset, best.parameters, seed).to_json()
    write_atomically(folder / SETTINGS, (json.dumps(settings, indent=2) + "\n").encode())
    write_atomically(folder / "search.png", draw(study))
    write_atomically(folder / "index.html", _page(study, best, folder).encode())
    return folder / "index.html"


def trained(study: Study) -> list[Result]:
    """The candidates that have a loss."""
    return [result for result in study.results() if result.outcome and result.outcome.loss is not None]


def own(study: Study) -> Result | None:
    """The preset's own settings, where they were among the candidates."""
    parameters = default_parameters(study.options["--preset"])
    return next((result for result in trained(study) if result.parameters == parameters), None)


def command(study: Study, folder: Path) -> str:
    """What to type to train with the best settings."""
    arguments = [*study.command, "--config", str(folder / SETTINGS), "--out", "shot.onnx"]
    return shlex.join(["fewstroke", "train", *arguments])


def draw(study: Study) -> bytes:
    """The plots, a PNG: history, importances, loss against the time of a frame, and against each parameter."""
    figure = Figure(figsize=(12, 9.5), layout="constrained")
    panels = figure.subplots(3, 3).flat
    _history(next(panels), study)
    _importances(next(panels), study)
    _pareto(next(panels), study)
    for name in default_parameters(study.options["--preset"]):
        _slice(next(panels), study, name)
    _parts(next(panels), study)
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=90)
    return written.getvalue()


def _history(axes: Axes, study: Study) -> None:
    axes.set(title="how the search went", xlabel="candidate", ylabel="loss")
    results = sorted(trained(study), key=lambda result: result.number)
    _dots(axes, study, {result.number: result.number for result in results})
    least = [min(_loss(result) for result in results[: i + 1]) for i in range(len(results))]
    axes.step([result.number for result in results], least, where="post", color=BEST, linewidth=1)
    refused = [result.number for result in study.results() if result.outcome and result.outcome.refused]
    edge = max(_capped({result.number: _loss(result) for result in results}).values())
    axes.plot(refused, [edge] * len(refused), "x", color=OTHERS, label="refused")
    if refused:
        axes.legend()


def _importances(axes: Axes, study: Study) -> None:
    axes.set(title="which parameter decides (PED-ANOVA)")
    parts = study.importances()
    if not parts:
        axes.text(0.5, 0.5, "too few results to say", ha="center", va="center")
        axes.set_axis_off()
        return
    names = sorted(parts, key=lambda name: parts[name])
    axes.barh(names, [parts[name] for name in names], color=OTHERS)


def _pareto(axes: Axes, study: Study) -> None:
    axes.set(title="loss against the time of a frame", xlabel="seconds of the network", ylabel="loss")
    results = sorted(trained(study), key=_seconds)
    _dots(axes, study, {result.number: _seconds(result) for result in results})
    front: list[Result] = []
    for result in results:
        if not front or _loss(result) < _loss(front[-1]):
            front.append(result)
    axes.step([_seconds(r) for r in front], [_loss(r) for r in front], where="post", color=BEST, linewidth=1)
    if (limit := study.options["--frame-time"]) is not None:
        axes.axvline(limit, color="black", linestyle=":", label="limit")
        axes.legend()


def _slice(axes: Axes, study: Study, name: str) -> None:
    axes.set(title=name, ylabel="loss")
    if name in LOGARITHMIC:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, place: f"{value:.2g}")
    _dots(axes, study, {result.number: result.parameters[name] for result in trained(study)})


def _parts(axes: Axes, study: Study) -> None:
    axes.set(title="what the loss is made of", xlabel="l1", ylabel="texture")
    results = trained(study)
    at = _capped({result.number: result.outcome.figures["l1"] for result in results if result.outcome})
    height = {result.number: result.outcome.figures["texture"] for result in results if result.outcome}
    _dots(axes, study, at, height)
    axes.locator_params(axis="x", nbins=5)  # the figures are long


def _dots(axes: Axes, study: Study, at: Mapping[int, Value], height: Mapping[int, float] | None = None) -> None:
    """A dot for every candidate, by its number; the best one and the preset's own stand out."""
    height = _capped(height or {result.number: _loss(result) for result in trained(study)})
    axes.scatter(list(at.values()), [height[number] for number in at], s=16, color=OTHERS, alpha=0.7)
    for result, colour, marker in ((own(study), OWN, "s"), (study.best(), BEST, "*")):
        if result is not None:
            axes.scatter([at[result.number]], [height[result.number]], s=70, color=colour, marker=marker, zorder=3)


def _capped(values: Mapping[int, float]) -> dict[int, float]:
    """By number; what is far worse than most lies at the upper edge, where it does not press the others together."""
    least = min(values.values(), default=0.0)
    edge = least + 4 * (statistics.median(values.values()) - least) if values else 0.0
    return {number: min(value, edge) for number, value in values.items()}


def _loss(result: Result) -> float:
    assert result.outcome is not None and result.outcome.loss is not None
    return result.outcome.loss


def _seconds(result: Result) -> float:
    assert result.outcome is not None
    return result.outcome.figures["frame_seconds"]


def _page(study: Study, best: Result, folder: Path) -> str:
    results = study.results()
    refused = [result for result in results if result.outcome and result.outcome.refused]
    names = list(default_parameters(study.options["--preset"]))
    compared = [("best", best)]
    if (defaults := own(study)) is not None:
        compared.append((f"{study.options['--preset']}, as it is by default", defaults))
    ranked = sorted(trained(study), key=_loss)
    others = [result for result in results if result not in ranked]
    table = [*((str(result.number), result) for result in ranked), *((str(result.number), result) for result in others)]
    options = [(name, "none" if value is None else str(value)) for name, value in study.options.items()]
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(study.path.name)}</title>
<style>
body {{ font: 15px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse }} td, th {{ padding: .15em .8em; border-bottom: 1px solid #ddd; text-align: left }}
pre {{ background: #f3f3f3; padding: 1em; overflow-x: auto }} img {{ max-width: 100% }}
</style>
<h1>The settings for a shot: {escape(study.path.name)}</h1>
<p>{len(results)} candidates, of which {len(refused)} were refused{_still(study)}. Loss is the mean absolute difference
(l1) plus the distance of the texture, both from the painting that would be right on frames that were not learnt; lower
is better. In the plots the star is the best, the square the preset's own settings; what is far worse lies at the upper
edge.</p>
{_table(names, compared)}
<pre>{escape(command(study, folder))}</pre>
<img src="search.png" alt="plots of the search">
<h2>What was searched</h2>
<table>{"".join(f"<tr><th>{escape(name)}<td>{escape(value)}" for name, value in options)}</table>
<h2>All candidates</h2>
{_table(names, table)}
</html>
"""


def _still(study: Study) -> str:
    running = study.running()
    return f"; {running} more are being tried" if running else ""


def _table(names: Sequence[str], rows: Sequence[tuple[str, Result]]) -> str:
    figures = {"frame_seconds": "s a frame", "steps": "steps", "l1": "l1", "texture": "texture", "psnr": "psnr"}
    heads = ["", *names, *figures.values(), "loss"]
    lines = ["".join(f"<th>{head}" for head in heads)]
    for label, result in rows:
        cells = [label, *(f"{result.parameters.get(name, 0):.4g}" for name in names)]
        if result.outcome is None:
            cells.append("given up: workers died of it")
        else:
            known = result.outcome.figures
            cells += [f"{known[name]:.4g}" if name in known else "" for name in figures]
            cells.append(result.outcome.refused or f"{_loss(result):.4f}")
        lines.append("".join(f"<td>{escape(cell)}" for cell in cells))
    return f"<table>{''.join(f'<tr>{line}' for line in lines)}</table>"
