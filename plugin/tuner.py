"""One candidate of a search for settings (paper, 3.2): is it fast enough, and how good is it after so much training?"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fewstroke.engine import color
from fewstroke.engine.config import Settings
from fewstroke.engine.errors import ModelError, TrainingError
from fewstroke.engine.image import Image
from fewstroke.engine.keyframe import Keyframe
from fewstroke.engine.losses import VggLoss
from fewstroke.engine.measure import Difference, difference
from fewstroke.engine.stylizer import Stylizer
from fewstroke.engine.train import Budget, Report, Training
from fewstroke.nodes.node import Cancel, never
from fewstroke.nodes.render import Evaluator
from fewstroke.nodes.shot import Shot

from .study import Outcome
from .trainer import model_of

RUNS = 5
"""A frame's time is the least of so many runs: what other programs do meanwhile only ever adds."""
RUNS_SECONDS = 2.0
"""How long it is run again and again before it is refused; a frame that takes longer is run twice."""


class Tuner:
    """A shot on which candidates are tried, one after the other."""

    def __init__(
        self,
        shot: Shot,
        keyframes: Sequence[Keyframe],
        truths: Sequence[Keyframe],
        *,
        vgg: Path | None = None,
        threads: int = 0,
        device: str | None = None,
        cancel: Cancel = never,
    ):
        """keyframes  what is learnt
        truths     frames that are not learnt, with the painting that would be right there
        vgg        VGG-19 weights for the perceptual loss; None: without
        threads    that painting a frame may use; 0 for all cores
        device     for training, as in `Training`
        """
        self._shot, self._keyframes = shot, keyframes
        self._perceptual = None if vgg is None else VggLoss(vgg)
        self._threads, self._device = threads, device
        evaluate, self._views = Evaluator(), []
        for truth in truths:
            matte = None if shot.matte_node is None else evaluate(shot.matte_node, truth.frame, cancel)
            picture = Image(np.ascontiguousarray(color.decode(truth.source[..., :3]), np.float32))
            guide = truth.source[..., 3:] if truth.source.shape[2] > 3 else None
            self._views.append((truth, picture, guide, None if matte is None else matte.pixels[:, :, 0]))

    def attempt(
        self,
        settings: Settings,
        seconds: float,
        limit: float | None,
        *,
        show: Callable[[Report], None] = lambda report: None,
        cancel: Cancel = never,
    ) -> Outcome:
        """Refuses a candidate that takes longer than `limit` seconds for a frame; else trains it for so many seconds
        and compares what it paints of the unseen frames with the truth.

        show    told of every training step
        cancel  asked between steps, and while frames are painted
        """
        cancel()
        training = Training(
            self._keyframes,
            replace(settings.network, channels=self._keyframes[0].source.shape[2]),
            settings.training,
            exemplars=() if self._shot.stmap_node is None else self._shot.stmap_node.keyframes,
            perceptual=self._perceptual,
            device=self._device,
        )
        # Weights that learnt nothing take as long as others.
        took = self._frame_seconds(self._stylizer(training), limit, cancel)
        figures: dict[str, float] = {"frame_seconds": took}
        if limit is not None and took > limit:
            return Outcome(None, f"takes {took:.3g} s for a frame, the limit is {limit:.3g} s", figures)
        try:
            for report in training.run(Budget(seconds=seconds)):
                show(report)
                cancel()
            figures["steps"] = training.step
            differences = self._differences(self._stylizer(training), cancel)
        except (TrainingError, ModelError):
            return Outcome(None, "did not converge", figures)
        except (MemoryError, RuntimeError) as error:  # torch has no class of its own for a CPU's memory
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            return Outcome(None, "needs more memory than there is", figures)
        for name in ("l1", "texture", "psnr", "loss"):
            figures[name] = statistics.fmean(getattr(each, name) for each in differences)
        return Outcome(figures.pop("loss"), None, figures)

    def _stylizer(self, training: Training) -> Stylizer:
        return Stylizer(model_of(training, self._shot, "candidate"), threads=self._threads)

    def _frame_seconds(self, stylizer: Stylizer, limit: float | None, cancel: Cancel) -> float:
        """Of the network, for a frame of the shot; what it is shown is made beforehand."""
        _, picture, guide, matte = self._views[0]
        start, least, runs = time.monotonic(), math.inf, 0
        while runs < 2 or (time.monotonic() - start < RUNS_SECONDS and (runs < RUNS or least > (limit or math.inf))):
            begun = time.monotonic()
            stylizer(picture, guide=guide, mask=matte, cancel=cancel)
            least, runs = min(least, time.monotonic() - begun), runs + 1
        return least

    def _differences(self, stylizer: Stylizer, cancel: Cancel) -> list[Difference]:
        found = []
        for truth, picture, guide, matte in self._views:
            painted = stylizer(picture, guide=guide, mask=matte, cancel=cancel)
            found.append(difference(color.encode(painted.pixels), truth.target, truth.mask))
        return found
