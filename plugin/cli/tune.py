"""`fewstroke tune`: the settings that are best for a shot, within limits of time (paper, 3.2)."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fewstroke.engine.config import Preset
from fewstroke.engine.digest import digest
from fewstroke.engine.errors import CancelledError, FewstrokeError, ParameterError
from fewstroke.engine.frames import FrameRange
from fewstroke.nodes.guide import GuideParams
from fewstroke.nodes.prefilter import PrefilterParams
from fewstroke.nodes.read import Read, ReadParams
from fewstroke.nodes.shot import Painting, Shot, load_keyframes, with_exemplars

from .interrupt import INTERRUPTED, Interrupt, interruptible
from .options import FootageSpace, Vectors
from .output import output
from .train import parse_duration, parse_paintings

if TYPE_CHECKING:
    from fewstroke.engine.train import Report
    from fewstroke.plugin.study import Candidate, Outcome, Queue, Search, Study, Value
    from fewstroke.plugin.tuner import Tuner

TRIALS = 40
TRUTHS = 5
"""Frames of a reference that candidates are judged by, unless others are asked for."""
WAIT_SECONDS = 0.5
"""How often a worker that has nothing left to do looks whether the others are done."""


def tune(
    study: Annotated[Path, typer.Option(help="The search, a file. Commands that name the same one share its work.")],
    footage: Annotated[str | None, typer.Option(help="plate.####.exr, plate.%04d.png, a movie.")] = None,
    keyframe: Annotated[
        list[str] | None, typer.Option(help="FRAME=PAINTING, as 1001=paint.png. Give it once per keyframe.")
    ] = None,
    holdout: Annotated[
        list[int] | None, typer.Option(help="A keyframe that is not learnt: candidates are judged by it.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The right painting of other frames, a sequence, to judge by instead.")
    ] = None,
    frames: Annotated[str | None, typer.Option(help="Frames of the reference to judge by. Default: five.")] = None,
    time_: Annotated[str, typer.Option("--time", help="Train each candidate this long, as the shot will be.")] = "30s",
    frame_time: Annotated[
        str | None, typer.Option(help="Refuse candidates whose network takes longer for a frame: 0.2s.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help=f"Candidates in all, of all workers. Default: {TRIALS}, or the grid.")
    ] = None,
    sampler: Annotated[
        Literal["tpe", "grid"], typer.Option(help="tpe learns from the candidates before; grid tries every point.")
    ] = "tpe",
    search: Annotated[
        list[str] | None, typer.Option(help="What of a parameter to try, as patch=16,32,48 or filters=64.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page with plots, and settings.json for `train --config`.")
    ] = None,
    preset: Annotated[Preset, typer.Option(help="fast, or paper: the published network.")] = "fast",
    mask: Annotated[list[str] | None, typer.Option(help="FRAME=MASK: white where that painting counts.")] = None,
    matte: Annotated[str | None, typer.Option(help="Region of interest, a sequence.")] = None,
    vectors: Vectors = None,
    footage_space: FootageSpace = "",
    paint_space: Annotated[str, typer.Option(help="Colour space of the paintings. Default: what they say.")] = "",
    vgg: Annotated[Path | None, typer.Option(help="VGG-19 weights, as of `train`. Default: if cached.")] = None,
    guide: Annotated[bool, typer.Option(help="Give the network the guide layer.")] = True,
    prefilter: Annotated[bool, typer.Option(help="Take sensor noise out before.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="The same seed tries the same candidates first.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of this worker. 0: one per core.")] = 0,
    patience: Annotated[str, typer.Option(help="A worker that is silent for so long is taken for dead.")] = "2m",
    device: Annotated[str | None, typer.Option(help="To train on: cpu or cuda. Default: what there is.")] = None,
) -> int:
    """Search for the settings that suit a shot; run it several times at once to share the work."""
    with _packages():
        from fewstroke.plugin.study import Queue, Search, Study, parse_space

        if report is not None:
            import matplotlib  # noqa: F401  # what is missing is said now, not after hours of searching
    if footage is None or not keyframe:
        if footage is not None or keyframe or report is None:
            raise ParameterError("a search needs --footage and --keyframe; to see how one stands, give only --report")
        _write_report(Study(study), report)
        return 0
    seconds, patience_seconds = parse_duration(time_), parse_duration(patience)
    limit = None if frame_time is None else parse_duration(frame_time)
    if not (seconds and patience_seconds and limit != 0):
        raise ParameterError("--time, --frame-time and --patience must be greater than 0")
    space = parse_space(preset, search or [])
    paintings = parse_paintings(keyframe, mask or [])
    learnt, judged = _choose(footage, paintings, holdout or [], reference, frames)
    shot = Shot(
        footage,
        footage_space,
        matte,
        vectors,
        prefilter=PrefilterParams() if prefilter else None,
        guide=GuideParams(keyframe=learnt[0].frame, seed=seed) if guide else None,
    )
    given = {
        "--footage": [footage],
        "--keyframe": keyframe,  # those that are held out, too
        "--mask": mask or [],
        "--matte": [matte],
        "--vectors": [vectors],
        "--footage-space": [footage_space],
        "--paint-space": [paint_space],
        "--vgg": [vgg and str(vgg)],
        "--time": [time_],
    }
    command = [part for option, values in given.items() for value in values if value for part in (option, value)]
    command += [] if guide else ["--no-guide"]
    command += [] if prefilter else ["--no-prefilter"]
    ending = _Ending()
    with interruptible(ending) as interrupt:
        shot = with_exemplars(shot, learnt, preset, paint_space=paint_space, cancel=interrupt.cancel)
        keyframes = load_keyframes(shot, learnt, paint_space=paint_space, cancel=interrupt.cancel)
        truths = load_keyframes(shot, judged, paint_space=paint_space, cancel=interrupt.cancel)
        # Late, since torch takes two seconds: everything the user gave has been found good by now.
        with _packages():
            import torch

            from fewstroke.engine.losses import cached_vgg
            from fewstroke.plugin.tuner import Tuner
        if threads:
            torch.set_num_threads(threads)
        weights = vgg or cached_vgg()
        height, width = keyframes[0].mask.shape
        facts = {
            "--footage": f"{shot.footage_node.frames()} of {width}x{height}",
            "--keyframe": [_named(painting) for painting in learnt],
            "--reference" if reference else "--holdout": [_named(painting) for painting in judged],
            "--matte": matte is not None,
            "--vectors": vectors is not None,
            "--footage-space": footage_space,
            "--paint-space": paint_space,
            "--guide": guide,
            "--prefilter": prefilter,
            "--vgg": weights is not None,
        }
        what = Search(preset, space, sampler, seconds, limit, seed, patience_seconds, facts)
        tuner = Tuner(shot, keyframes, truths, vgg=weights, threads=threads, device=device, cancel=interrupt.cancel)
        ending.queue = queue = Queue(study, what, command)
        _work(queue, tuner, what, trials or (len(what.grid) if sampler == "grid" else TRIALS), interrupt, ending)
    best = queue.best()
    if best is None:
        results = queue.results()
        why = next((result.outcome.refused for result in results if result.outcome), "killed its workers")
        raise FewstrokeError(
            f"none of {len(results)} candidates could be judged (the first: it {why}); allow more time, or --search "
            "other values"
        )
    assert best.outcome is not None
    done = len(queue.results())
    output.event(
        "done",
        f"{done} candidates; the best is number {best.number}, loss {best.outcome.loss:.4f}: {_said(best.parameters)}"
        + ("" if report else "; --report FOLDER writes its settings for `fewstroke train --config`, and a page"),
        progress=1.0, candidates=done, best=best.number, loss=best.outcome.loss, parameters=best.parameters,
        **best.outcome.figures,
    )  # fmt: skip
    if report is not None:
        _write_report(queue, report)
    return 0


def _choose(
    footage: str, paintings: list[Painting], holdout: list[int], reference: str | None, frames: str | None
) -> tuple[list[Painting], list[Painting]]:
    """What is learnt, and what candidates are judged by. Raises ParameterError where that cannot be."""
    painted = [painting.frame for painting in paintings]
    if bool(holdout) == (reference is not None):
        raise ParameterError("give either --holdout, a keyframe to judge by, or --reference, a painted sequence")
    if reference is None:
        if frames is not None:
            raise ParameterError("--frames are those of a --reference; with --holdout leave it out")
        if missing := sorted(set(holdout) - set(painted)):
            raise ParameterError(f"--holdout {missing[0]} has no --keyframe {missing[0]}; give its painting, too")
        learnt = [painting for painting in paintings if painting.frame not in holdout]
        if not learnt:
            raise ParameterError("every keyframe is held out, so there is nothing to learn; leave one in")
        return learnt, [painting for painting in paintings if painting.frame in holdout]
    there = [Read(ReadParams(path)).frames() for path in (footage, reference)]
    shared = [frame for frame in there[0] if frame in there[1]]
    wanted = spread(shared, painted) if frames is None else list(FrameRange.parse(frames))
    for frame in wanted:
        if frame in painted:
            raise ParameterError(f"frame {frame} is a keyframe; judge by --frames that are not learnt")
        if frame not in shared:
            raise ParameterError(
                f"frame {frame} is not in both the footage, {there[0]}, and the reference, {there[1]}; choose --frames "
                "that are"
            )
    if not wanted:
        raise ParameterError(f"the reference {reference} has no frame of the footage but keyframes; give one that has")
    return paintings, [Painting(frame, reference) for frame in sorted(wanted)]


def spread(frames: list[int], keyframes: list[int]) -> list[int]:
    """At most `TRUTHS` of the frames that are no keyframes, from the first to the last."""
    unseen = [frame for frame in frames if frame not in keyframes]
    steps = min(TRUTHS, len(unseen)) - 1
    return [unseen[round(i * (len(unseen) - 1) / max(1, steps))] for i in range(steps + 1)]


def _work(
    queue: "Queue", tuner: "Tuner", search: "Search", trials: int, interrupt: Interrupt, ending: "_Ending"
) -> None:
    """Tries candidates until there are as many as wanted, those of other workers included."""
    known, running = len(queue.results()), queue.running()
    if known or running:
        text = f"{known} of {trials} candidates are done, {running} being tried by other workers"
        output.event("joined", text, done=known, running=running, total=trials)
    waiting = False
    with output.bar("searching", trials) as bar:
        while (candidate := queue.next(trials)) is not None:
            if candidate == "wait":
                if not waiting:
                    output.event("waiting", "other workers try the last candidates; waiting, in case one dies")
                waiting = True
                interrupt.cancel()
                time.sleep(WAIT_SECONDS)
                continue
            ending.candidate = candidate
            label, waiting = f"candidate {candidate.number}: {_said(candidate.parameters)}", False
            if not output.has_bars:
                output.event("candidate", label, number=candidate.number, parameters=candidate.parameters)
            done = len(queue.results())

            def show(report: "Report", done: int = done, label: str = label) -> None:
                bar.show(done + report.seconds / search.seconds, f"{label}, step {report.step}, loss {report.l1:.3f}")

            try:
                with queue.alive(candidate):
                    settings, cancel = search.settings(candidate.parameters), interrupt.cancel
                    outcome = tuner.attempt(settings, search.seconds, search.limit, show=show, cancel=cancel)
            except (CancelledError, KeyboardInterrupt):
                queue.release(candidate)
                raise
            kept = queue.tell(candidate, outcome)
            ending.candidate = None
            _say(queue, candidate, outcome, kept, trials)


def _say(queue: "Queue", candidate: "Candidate", outcome: "Outcome", kept: bool, trials: int) -> None:
    """Says what became of a candidate."""
    number, figures, best, done = candidate.number, outcome.figures, queue.best(), len(queue.results())
    if not kept:
        text = "was given to another worker, since this one was silent for too long"
    elif outcome.refused is not None:
        text = f"refused: it {outcome.refused}"
    else:
        assert best is not None and best.outcome is not None
        text = (
            f"loss {outcome.loss:.4f} (l1 {figures['l1']:.4f}, texture {figures['texture']:.4f}), "
            f"{figures['frame_seconds']:.3g} s a frame, {figures['steps']} steps; best: {best.outcome.loss:.4f}"
        )
    output.event(
        "result", f"candidate {number}: {text} ({done}/{trials})", progress=min(1.0, done / trials),
        number=number, parameters=candidate.parameters, loss=outcome.loss, refused=outcome.refused, kept=kept,
        best=None if best is None else best.number, done=done, total=trials, **figures,
    )  # fmt: skip


def _write_report(study: "Study", folder: Path) -> None:
    with _packages():
        from fewstroke.plugin.page import SETTINGS, command, write_page

    page, typed = write_page(study, folder), command(study, folder)
    output.event(
        "report", f"the report is {page}; to train with the best settings: {typed}",
        report=str(page), settings=str(folder / SETTINGS), command=typed,
    )  # fmt: skip


class _Ending:
    """What a worker does that is ended the hard way: it gives its candidate back, if that can be done at once."""

    def __init__(self) -> None:
        self.queue: Queue | None = None
        self.candidate: Candidate | None = None

    def __call__(self) -> None:
        if self.queue is not None and self.candidate is not None:
            # Beside, since the thread that was interrupted may hold what this needs.
            thread = threading.Thread(target=self.queue.release, args=[self.candidate], daemon=True)
            thread.start()
            thread.join(0.3)
        if not output.failed:
            output.error("interrupted; nothing is half-written", INTERRUPTED)


@contextmanager
def _packages() -> Iterator[None]:
    """Within, a package that is not installed is one sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise FewstrokeError(
            f"the search needs the package {error.name}, which rendering does without; pip install 'fewstroke[tune]'"
        ) from None


def _said(parameters: "Mapping[str, Value]") -> str:
    return ", ".join(
        f"{name} {value if isinstance(value, int) else f'{value:.3g}'}" for name, value in parameters.items()
    )


def _named(painting: Painting) -> str:
    """A painting, its mask included, so that another under the same name is known to be another, wherever it lies."""
    files = [Read(ReadParams(path)).path_of(painting.frame) for path in (painting.path, painting.mask) if path]
    return f"{painting.frame} {files[0].name} {digest(*(file.read_bytes() for file in files))[:8]}"
