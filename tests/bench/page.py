"""What came of a contest, to look at: a table, plots, and one page with both and with pictures."""

import base64
import html
from collections.abc import Sequence as Listing
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from sequences import Sequence

Result = tuple[Sequence, str, dict[str, Any]]
Line = list[tuple[float, dict[str, float]]]
"""Of a plot: values along the x axis, and the scores at each."""

SCORES = ("psnr", "subject", "ssim", "swd", "detail", "grid", "flicker", "change", "key_psnr")
PLOTTED = {
    "psnr": "psnr, dB", "ssim": "ssim", "swd": "swd, lower is better",
    "flicker": "flicker, lower is better", "change": "change, lower is better",
}  # fmt: skip
COLOURS, MARKERS = 10, "osv^D"
"""Of lines: so many colours, of matplotlib's tab10; the marker changes when they begin again."""
HEIGHT = 180
"""Of a picture on the page, pixels; the crop beside it shows as many pixels of the frame as they are."""

STYLE = """
body { font: 14px/1.4 sans-serif; margin: 2em; background: #222; color: #ddd }
table { border-collapse: collapse } td, th { padding: .1em .7em; border-bottom: 1px solid #444; text-align: right }
td:first-child, th:first-child, td[colspan] { text-align: left; white-space: nowrap }
.wide { overflow-x: auto } img { max-width: 100% } .wide img { max-width: none }
figure { display: inline-block; margin: 0 1em 1em 0; max-width: 100% } figcaption { font-weight: bold }
"""


def write(out: Path, results: list[Result]) -> None:
    """table.md, plots/ and page.html."""
    (out / "plots").mkdir(parents=True, exist_ok=True)
    sections, tables = [], []
    for sequence, group in groupby(results, key=lambda result: result[0]):
        its = list(group)
        header, rows = table(its)
        tables.append(f"## {sequence.name}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in (
            header, ["---"] * len(header), *rows
        )))  # fmt: skip
        plot = curves(its, out / "plots" / f"{sequence.name}.png")
        sections.append(
            f"<h2>{sequence.name}</h2>{_table(header, rows)}{_image(plot)}"
            + "".join(_pictures(out, its, frame) for frame in sequence.shown)
        )
    studied = studies(results, out / "plots")
    (out / "table.md").write_text("\n".join(tables))
    (out / "page.html").write_text(
        "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Contest</title><style>{STYLE}</style>"
        + "".join(sections)
        + "".join(f"<h2>{path.stem}</h2>{_image(path)}" for path in studied)
    )


def table(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one sequence; figures are those at the end of training."""
    present = {score for _, _, result in results if "marks" in result for score in result["marks"][-1]["scores"]}
    scores = [score for score in SCORES if score in present]
    header = ["", *scores, "steps", "training, s", "inputs, s", "frame, s", "memory, MB"]
    rows = []
    for _, name, result in results:
        if "marks" not in result:
            ((kind, why),) = result.items()
            rows.append([name, f"{kind}: {why}", *[""] * (len(header) - 2)])
            continue
        last = result["marks"][-1]
        figures = [_short(last["scores"].get(score)) for score in scores]
        costs = (last["seconds"], result["inputs"], result["frame"], result["memory"])
        rows.append([name, *figures, f"{last['step']:.0f}", *map(_short, costs)])
    return header, rows


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 3 else f"{value:.2f}"


def curves(results: list[Result], path: Path) -> Path | None:
    """Scores over seconds of training, a line per contestant; None where nobody was judged more than once."""
    lines = {
        name: [(mark["seconds"], mark["scores"]) for mark in result["marks"]]
        for _, name, result in results
        if "marks" in result and "=" not in name  # what is studied has plots of its own
    }
    return _plot(lines, "seconds of training", path) if any(len(line) > 1 for line in lines.values()) else None


def studies(results: list[Result], folder: Path) -> list[Path]:
    """Scores over the value of a number, a plot per number and a line per sequence and contestant."""
    numbers: dict[str, dict[str, Line]] = {}
    for sequence, name, result in results:
        base, *changes = name.split()
        if len(changes) == 1 and "marks" in result:
            key, _, value = changes[0].partition("=")
            line = numbers.setdefault(key, {}).setdefault(f"{sequence.name}, {base}", [])
            line.append((float(value), result["marks"][-1]["scores"]))
    paths = []
    for key, lines in numbers.items():
        for line in lines.values():
            line.sort(key=lambda point: point[0])
        values = sorted({value for line in lines.values() for value, _ in line})
        paths.append(_plot(lines, key, folder / f"study-{key}.png", ticks=values))
    return paths


def _plot(lines: dict[str, Line], label: str, path: Path, ticks: Listing[float] | None = None) -> Path:
    """A line for each; what took nothing is a level."""
    known = {score for line in lines.values() for _, its in line for score in its}
    plotted = {score: title for score, title in PLOTTED.items() if score in known}
    figure = Figure(figsize=(4 * len(plotted), max(3.4, 0.4 + 0.18 * len(lines))), layout="constrained")
    figure.suptitle(path.stem)
    axes = figure.subplots(1, len(plotted))
    for axis, (score, title) in zip(axes, plotted.items(), strict=True):
        axis.set_xscale("log", base=2)
        for number, (name, line) in enumerate(lines.items()):
            values, heights = [value for value, _ in line], [its.get(score, np.nan) for _, its in line]
            style: dict[str, Any] = {"color": colormaps["tab10"](number % COLOURS), "label": name}
            if values == [0]:
                axis.axhline(heights[0], linestyle="--", **style)
            else:
                marker = MARKERS[number // COLOURS % len(MARKERS)]
                axis.plot(values, heights, marker=marker, markersize=4, **style)
        if ticks is not None:
            axis.set_xticks(ticks)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set(xlabel=label, title=title)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize="small")
    figure.savefig(path, dpi=80)
    return path


def _table(header: Listing[str], rows: list[list[str]]) -> str:
    def line(tag: str, cells: Listing[str]) -> str:
        name, first, *others = cells
        cell = f"<{tag}>{html.escape(name)}</{tag}>"
        if not any(others):  # a word on why there are no figures
            return f"<tr>{cell}<{tag} colspan={len(header) - 1}>{html.escape(first)}</{tag}></tr>"
        return f"<tr>{cell}" + "".join(f"<{tag}>{html.escape(each)}</{tag}>" for each in (first, *others)) + "</tr>"

    return f"<div class=wide><table>{line('th', header)}{''.join(line('td', row) for row in rows)}</table></div>"


def _image(path: Path | None) -> str:
    return "" if path is None else f"<p class=wide><img src='data:image/png;base64,{_base64(path.read_bytes())}'></p>"


def _pictures(out: Path, results: list[Result], frame: int) -> str:
    """Footage, what every contestant made of it, and the truth: the frame, and a part of it at full size."""
    sequence = results[0][0]
    crop = sequence.crop(frame, HEIGHT)
    paths = {"footage": sequence.footage[frame]}
    for _, name, result in results:
        if "marks" in result:
            last = str(len(result["marks"]) - 1)
            paths[name] = out / sequence.name / name.replace(" ", ",") / last / f"{frame:04d}.png"
    paths["painted"] = sequence.painted[frame]
    figures = []
    for name, path in paths.items():
        picture = cv2.imread(str(path))
        assert picture is not None, path
        size = round(picture.shape[1] * HEIGHT / picture.shape[0]), HEIGHT
        part = np.zeros((HEIGHT, HEIGHT, 3), np.uint8)
        cut = picture[crop]
        part[: cut.shape[0], : cut.shape[1]] = cut
        both = np.hstack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA), part])
        data = _base64(cv2.imencode(".jpg", both, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
        caption = html.escape(name)
        figures.append(f"<figure><img src='data:image/jpeg;base64,{data}'><figcaption>{caption}</figcaption></figure>")
    return f"<h3>Frame {frame}; the key frame is {sequence.key}; beside each a part at full size</h3>" + "".join(
        figures
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
