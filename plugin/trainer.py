"""Training a shot: keyframes in, checkpoints every few seconds, a model at the end. For every host that trains."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewstroke.engine.checkpoint import write_atomically
from fewstroke.engine.config import Settings
from fewstroke.engine.errors import TrainingError
from fewstroke.engine.export import export_model
from fewstroke.engine.keyframe import Keyframe
from fewstroke.engine.losses import VggLoss, cached_vgg
from fewstroke.engine.model import ModelInfo
from fewstroke.engine.train import Budget, Report, Training
from fewstroke.nodes.shot import Painting, Shot

CHECKPOINT_SECONDS = 5.0
"""What a crash may cost."""

PRESENTABLE = 30
"""Steps before which a network without a prior paints little but black."""


def checkpoint_of(model: Path) -> Path:
    """Where the checkpoint of a model's training lies: beside it."""
    return model.with_suffix(".checkpoint.safetensors")


class Trainer:
    """Trains on a shot and writes `out`, a model, and beside it a checkpoint.

        trainer = Trainer(shot, paintings, load_keyframes(shot, paintings), Path("shot.onnx"))
        for report in trainer.run(Budget(seconds=60)):
            ...
        trainer.finish()

    Breaking out of the loop is the way to stop early; `finish` then keeps what was learnt.
    """

    def __init__(
        self,
        shot: Shot,
        paintings: Sequence[Painting],
        keyframes: Sequence[Keyframe],
        out: Path,
        *,
        settings: Settings | None = None,
        vgg: Path | None = None,
        resume: bool = False,
        device: str | None = None,
    ):
        """settings  of network and training; by default those of the preset fast
        vgg       VGG-19 weights for the perceptual loss; by default torchvision's cached file where there is one
        resume    go on from the checkpoint beside `out`; otherwise one that lies there is kept as `previous`

        Raises TrainingError where the folder of `out` cannot be written or there is nothing to resume.
        """
        weights = vgg or cached_vgg()
        settings = settings or Settings()
        self._shot, self._keyframes, self._out = shot, keyframes, out
        self._names = {painting.frame: Path(painting.path).name for painting in paintings}
        self._training = Training(
            keyframes,
            replace(settings.network, channels=keyframes[0].source.shape[2]),
            settings.training,
            exemplars=() if shot.stmap_node is None else shot.stmap_node.keyframes,
            perceptual=None if weights is None else VggLoss(weights),
            device=device,
        )
        self.resumed_same = resume and self._training.resume(self.checkpoint)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"the folder {out.parent} cannot be made ({error.strerror}); choose another") from None
        if not resume and self.checkpoint.exists():
            self.checkpoint.replace(self.previous)
        self._training.save(self.checkpoint)  # proves that the folder can be written before any time is spent

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint lies."""
        return checkpoint_of(self._out)

    @property
    def previous(self) -> Path:
        """Where the checkpoint of the run before is kept, for whoever forgot to resume."""
        return self._out.with_suffix(".checkpoint.previous.safetensors")

    @property
    def step(self) -> int:
        return self._training.step

    @property
    def presentable(self) -> bool:
        """Whether what has been learnt may be looked at."""
        return self.step >= PRESENTABLE or self._training.experienced

    def run(self, budget: Budget) -> Iterator[Report]:
        """Trains, a report per step, a checkpoint every few seconds."""
        saved = time.monotonic()
        for report in self._training.run(budget):
            yield report
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._training.save(self.checkpoint)
                saved = time.monotonic()

    def finish(self) -> None:
        """Writes the last checkpoint and the model. Raises TrainingError or ModelError where that fails.

        May be called between two steps, too, by a host that shows what has been learnt so far.
        """
        self._training.save(self.checkpoint)
        keyframes = [
            {"frame": key.frame, "painting": self._names[key.frame], "digest": key.digest} for key in self._keyframes
        ]
        write_atomically(self._out, model_of(self._training, self._shot, self._out.stem, keyframes))


def model_of(training: Training, shot: Shot, name: str, keyframes: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The `.onnx` file of what has been learnt of a shot so far.

    name, keyframes  as in `ModelInfo`
    """
    info = ModelInfo(
        name=name,
        halo=training.generator.halo,
        size_multiple=training.generator.SIZE_MULTIPLE,
        keyframes=tuple(keyframes),
        network=training.network.to_json(),
        training=training.config.to_json(),
        steps=training.step,
        losses=training.losses,
        **shot.facts(),
    )
    return export_model(training.generator, info)
