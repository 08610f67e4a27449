"""`fewstroke train`: from painted keyframes to a model."""

import json
import re
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from fewstroke.engine.config import Preset, Settings
from fewstroke.engine.errors import ParameterError, TrainingError
from fewstroke.nodes.guide import GuideParams
from fewstroke.nodes.prefilter import PrefilterParams
from fewstroke.nodes.shot import Painting, Shot, load_keyframes, with_exemplars

from .interrupt import INTERRUPTED, interruptible
from .options import Footage, FootageSpace, Vectors
from .output import duration, output


def train(
    footage: Footage,
    keyframe: Annotated[list[str], typer.Option(help="FRAME=PAINTING, as 1001=paint.png. Give it once per keyframe.")],
    out: Annotated[Path, typer.Option(help="The model to write, shot.onnx.")],
    mask: Annotated[
        list[str] | None, typer.Option(help="FRAME=MASK: white where the painting of that keyframe counts.")
    ] = None,
    matte: Annotated[str | None, typer.Option(help="Region of interest, a sequence: only inside is learnt.")] = None,
    vectors: Vectors = None,
    preset: Annotated[
        Preset | None, typer.Option(help="fast (the default), or paper: the published network, 49 times dearer.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings of network and training, a file of `fewstroke tune`.")
    ] = None,
    time_: Annotated[
        str | None, typer.Option("--time", help="Train this long: 60s, 5m. Default: until it stops getting better.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Train this many steps in all.")] = None,
    footage_space: FootageSpace = "",
    paint_space: Annotated[
        str, typer.Option(help="Colour space of the paintings, as sRGB. Default: what the files say.")
    ] = "",
    vgg: Annotated[
        Path | None, typer.Option(help="VGG-19 weights for the perceptual loss. Default: torchvision's, if cached.")
    ] = None,
    guide: Annotated[bool, typer.Option(help="Give the network the guide layer (README).")] = True,
    prefilter: Annotated[bool, typer.Option(help="Take sensor noise out before the network sees it.")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside the model.")] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The same seed gives the same model. Default: 0, or what --config says.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: what there is.")] = None,
) -> int:
    """Learn from painted frames; write a model."""
    paintings = parse_paintings(keyframe, mask or [])
    settings = choose_settings(config, preset, seed)
    seconds = None if time_ is None else parse_duration(time_)
    if out.suffix != ".onnx":
        raise ParameterError(f"the model '{out}' must be called something.onnx")
    first = paintings[0].frame
    shot = Shot(
        footage,
        footage_space,
        matte,
        vectors,
        prefilter=PrefilterParams() if prefilter else None,
        guide=GuideParams(keyframe=first, seed=settings.training.seed) if guide else None,
    )
    shot = with_exemplars(shot, paintings, settings.network.preset, paint_space=paint_space)
    keyframes = load_keyframes(shot, paintings, paint_space=paint_space)

    # torch takes two seconds to import: only now, when everything the user gave has been found good.
    try:
        from fewstroke.engine.train import Budget
        from fewstroke.plugin.trainer import Trainer
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"training needs the package {error.name}, which rendering does without; pip install 'fewstroke[train]'"
        ) from None

    trainer = Trainer(shot, paintings, keyframes, out, settings=settings, vgg=vgg, resume=resume, device=device)
    if resume:
        more = "" if trainer.resumed_same else "; the paintings have changed, learning goes on with the new ones"
        output.event(
            "resumed", f"going on from step {trainer.step}{more}", step=trainer.step, unchanged=trainer.resumed_same
        )
    shown = time.monotonic()
    with interruptible() as interrupt, output.bar("training") as bar:
        for report in trainer.run(Budget(seconds, steps)):
            total = None if report.seconds_left is None else report.seconds + report.seconds_left
            text = (
                f"step {report.step}, {report.steps_per_second:.1f} steps/s, loss {report.l1:.3f}, "
                f"{duration(report.seconds_left)} left"
            )
            bar.show(report.seconds, text, total)
            if not output.has_bars and time.monotonic() - shown > (1 if output.as_json else 5):
                output.event("step", text, progress=None if total is None else report.seconds / total, **asdict(report))
                shown = time.monotonic()
            if interrupt.requested:
                break
        trainer.finish()
        interrupted = interrupt.requested
    text = f"{trainer.step} steps learnt, the model is {out}"
    output.event(
        "model",
        f"interrupted, but nothing is lost: {text}; go on with --resume" if interrupted else text,
        model=str(out), checkpoint=str(trainer.checkpoint), step=trainer.step, interrupted=interrupted,
    )  # fmt: skip
    return INTERRUPTED if interrupted else 0


def parse_duration(text: str) -> float:
    """Seconds from "90", "60s", "5m" or "1h". Raises ParameterError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|)", text.strip())
    if not match:
        raise ParameterError(f"'{text}' is not a time; write 60s, 5m or 1h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def choose_settings(config: Path | None, preset: Preset | None, seed: int | None) -> Settings:
    """What the options say, else what the file says, else the preset's own.

    Raises ParameterError, naming the file, where it cannot be read or what it says cannot be.
    """
    if config is None:
        return Settings.for_preset(preset or "fast", seed or 0)
    try:
        values = json.loads(config.read_bytes())
        if not isinstance(values, dict):
            raise ParameterError("it should hold network and training")
        settings = Settings.from_json(values)
    except OSError as error:
        raise ParameterError(f"the settings {config} cannot be read ({error.strerror})") from None
    except ValueError:
        raise ParameterError(f"the settings {config} are no JSON; give a file that `fewstroke tune` wrote") from None
    except ParameterError as error:
        raise ParameterError(f"the settings {config} cannot be used: {error}") from None
    if preset not in (None, settings.network.preset):
        raise ParameterError(f"the settings {config} are of the preset {settings.network.preset}; leave --preset out")
    return settings if seed is None else replace(settings, training=replace(settings.training, seed=seed))


def parse_paintings(keyframes: list[str], masks: list[str]) -> list[Painting]:
    """What `--keyframe` and `--mask` say, in the order of frames. Raises ParameterError where they cannot be."""
    painted = dict(_numbered("--keyframe", text) for text in keyframes)
    if len(painted) < len(keyframes):
        raise ParameterError("the same frame is given as --keyframe twice; give each frame one painting")
    masked = dict(_numbered("--mask", text) for text in masks)
    if alone := sorted(set(masked) - set(painted)):
        raise ParameterError(f"--mask {alone[0]} has no --keyframe {alone[0]}; give its painting, too")
    return [Painting(frame, path, masked.get(frame)) for frame, path in sorted(painted.items())]


def _numbered(option: str, text: str) -> tuple[int, str]:
    match = re.fullmatch(r"(-?\d+)=(.+)", text)
    if not match:
        raise ParameterError(f"{option} '{text}' should be a frame number, = and a file, such as 1001=paint.png")
    return int(match[1]), match[2]
