"""The training loop (paper, 3.1). It reads downwards, yields one report per step and prints nothing.

training = Training(keyframes, NetworkConfig(), TrainConfig())
for report in training.run(Budget(seconds=60)):
    ...                                    # show it; break whenever you like, what was learnt is kept
data = export_model(training.generator, info)
"""

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from . import losses
from .checkpoint import load_checkpoint, save_checkpoint
from .config import NetworkConfig, TrainConfig
from .digest import digest
from .errors import ParameterError, TrainingError
from .keyframe import Keyframe
from .network import Discriminator, Generator, build_generator
from .patches import PatchSampler
from .prior import begin, has_prior
from .recorded import Recorded
from .threads import Threads

AVERAGE = 0.98
"""The generator that is handed out is a running mean of the one that learns, over some fifty steps (Polyak averaging).
A single step's weights still swing with the adversary: after 60 s on a rendered sequence the mean was 0.5 to 1 dB
better, and steadier from frame to frame, at no loss of texture."""

WARM_UP = 60
"""Steps over which the rate rises to its full height where a network begins with a prior: Adam's first steps, which
know little of how steep anything is, would take away more than they bring."""

LOOK_BACK = 30
"""After so many steps, and twice, four times as many, it is seen what of the key frames is painted wrong. In between it
learns just that, and looking takes time."""

PLATEAU_PIXELS = 6_000_000
"""Pixels whose mean L1 is compared with that of the as many before; below, the noise of the batches decides. 150 steps
of the paper's patches, 600 of those of `fast`."""
PLATEAU_GAIN = 0.01
"""A window that is not at least this part better than the one before ends a run without time or step limit."""

LOSSES = ("l1", "adversarial", "perceptual", "discriminator")
"""In the order in which `_learn` gives them."""

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True)
class Budget:
    """When a run ends: after so many seconds, so many steps, whichever comes first; with neither, at the plateau.

    Steps count from the very first, seconds from the start of this run; so `resume` with the same steps goes on to the
    same end.
    """

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("time", self.seconds), ("number of steps", self.steps)):
            if value is not None and value <= 0:
                raise ParameterError(f"the {name} to train for must be greater than 0, not {value}")


@dataclass(frozen=True)
class Report:
    """The state after a step.

    step              steps done, those before a resume included
    seconds           spent in this run
    l1, adversarial, perceptual, discriminator   the losses, unweighted
    steps_per_second  over the last few seconds
    seconds_left      estimate until the budget ends the run; None while there is nothing to go by
    """

    step: int
    seconds: float
    l1: float
    adversarial: float
    perceptual: float
    discriminator: float
    steps_per_second: float
    seconds_left: float | None


class Training:
    """A generator being trained, by one thread. `generator`, the averaged one, may be exported between two steps.

    Same seed, keyframes, machine and number of torch threads: the same steps give the same weights bit for bit, unless
    other programs want the machine's cores: then fewer threads may be faster (see `threads`), and last digits differ.
    On a graphics card they always do: it adds up in whatever order.
    """

    def __init__(
        self,
        keyframes: Sequence[Keyframe],
        network: NetworkConfig,
        config: TrainConfig,
        *,
        exemplars: Sequence[int] = (),
        perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
        device: str | None = None,
        sampler: type[PatchSampler] = PatchSampler,
        build: Callable[[NetworkConfig], Generator] = build_generator,
        experienced: bool = True,
    ):
        """exemplars    the numbers of the key frames that the ST map leads to, where there is one
        perceptual   a loss of (painted, target), such as `losses.VggLoss`; by default the distance of the
                     discriminator's features
        device       "cpu" or "cuda"; by default what there is
        sampler      what cuts the key frames into batches
        build        what makes the network that learns
        experienced  whether it begins with the prior, where there is one for it; that is then an attribute, too

        Raises TrainingError where there is nothing to learn or an exemplar is not painted, ParameterError where the
        device is not there.
        """
        if device not in (None, "cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
            raise ParameterError(f"the device '{device}' is not available to PyTorch here; leave it out, or say cpu")
        self.network, self.config = network, config
        self.step = 0
        self.losses: dict[str, float] = {}  # running means
        self._window_steps = max(1, round(PLATEAU_PIXELS / (config.batch * config.patch**2)))
        self._windows: list[float] = []  # mean L1 of each whole window of steps
        self._window: list[float] = []  # L1 of the steps of the present one
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with _room_on_the_card():
            self._sampler = sampler(
                keyframes,
                patch=config.patch,
                batch=config.batch,
                erode=config.erode,
                seed=config.seed,
                rarity=config.rarity,
                hardness=config.hardness,
                exemplars=max(1, len(exemplars)),
                device=self._device,
            )
        self._content = digest(*(key.digest for key in keyframes))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            learner = build(network)
            self.experienced = experienced and has_prior(network)
            if self.experienced:
                begin(learner)
            if learner.exemplar is not None:
                learner.exemplar.show([_of_frame(keyframes, frame) for frame in exemplars])
            self._learner = _channels_last(learner.to(self._device))
            self._discriminator = _channels_last(Discriminator().to(self._device))
        self.generator = copy.deepcopy(self._learner).eval()
        self._means, self._learnt = (
            [value for value in each.state_dict().values() if value.is_floating_point()]
            for each in (self.generator, self._learner)
        )
        self._perceptual = perceptual.to(self._device) if isinstance(perceptual, nn.Module) else perceptual
        self._optimizers = {
            "generator": self._adam(self._learner),
            "discriminator": self._adam(self._discriminator),
        }
        self._record()

    def run(self, budget: Budget) -> Iterator[Report]:
        """Trains until the budget is spent, a report per step. Raises TrainingError where the loss is no longer finite.

        Stopping early (closing the iterator, an exception in between) loses nothing.
        """
        self._learner.train()
        start = time.monotonic()
        marks = deque([(start, self.step)])  # of the last few seconds, for the speed
        most = torch.get_num_threads()
        threads = Threads(most, torch.set_num_threads)
        try:
            while not self._spent(budget, time.monotonic() - start):
                began, worked = time.monotonic(), time.thread_time()
                with _room_on_the_card():
                    values = self._update()
                now = time.monotonic()
                threads.stepped(now - began, time.thread_time() - worked)
                self.step += 1
                self._remember(values)
                self._look_back()
                if not math.isfinite(sum(values.values())):
                    raise TrainingError(
                        f"the loss is no longer a finite number at step {self.step}; resume from the last checkpoint, "
                        "or train with a smaller rate"
                    )
                while len(marks) > 1 and now - marks[0][0] >= 5:
                    marks.popleft()
                marks.append((now, self.step))
                speed = (self.step - marks[0][1]) / max(now - marks[0][0], 1e-9)
                yield Report(
                    step=self.step,
                    seconds=now - start,
                    steps_per_second=speed,
                    seconds_left=self._seconds_left(budget, now - start, speed),
                    **values,
                )
        finally:
            torch.set_num_threads(most)

    def _look_back(self) -> None:
        """Has the sampler see, ever more seldom, what is painted wrong so far."""
        looks, rest = divmod(self.step, LOOK_BACK)
        if self.config.hardness and looks and not rest and looks.bit_count() == 1:
            with _room_on_the_card(), torch.no_grad():
                self._sampler.prefer(self._sampler.errors(lambda source: self.generator.paint(source)[0]))

    def _update(self) -> dict[str, float]:
        """One step of both networks; the losses, unweighted."""
        choice = self._sampler.choose()
        if self.experienced:
            for optimizer in self._optimizers.values():
                for group in optimizer.param_groups:
                    _set_rate(group, self.config.rate * min(1.0, (self.step + 1) / WARM_UP))
        learn = self._recorded or self._learn
        values = learn(choice.corners, choice.chances)
        self._average()
        return dict(zip(LOSSES, values.tolist(), strict=True))

    def _learn(self, corners: Tensor, chances: Tensor) -> Tensor:
        """The step on the batch of a `Choice`; the losses, (4)."""
        config = self.config
        batch = self._sampler.cut(corners, chances)
        source, target, mask, real = (
            tensor.to(memory_format=torch.channels_last)
            for tensor in (batch.source, batch.target, batch.mask, batch.real)
        )
        own, painted = self._learner.paint(source)  # (B, 3, P, P) each
        wanted = target[: config.judged]
        # Judged is what it paints of its own: where it may copy it has nothing to learn.
        shown = losses.composite(own[: config.judged], wanted, mask[: config.judged])

        self._discriminator.requires_grad_(True)
        genuine, made = self._discriminator(torch.cat([real[: config.judged], shown.detach()]))[0].chunk(2)
        discriminator = losses.discriminator_adversarial(genuine, made)
        self._descend("discriminator", discriminator)

        self._discriminator.requires_grad_(False)  # from here on it is only looked through
        l1 = losses.masked_l1(painted, target, mask)
        score, features = self._discriminator(shown)
        adversarial = losses.generator_adversarial(score)
        if self._perceptual is None:
            with torch.no_grad():
                wanted_features = self._discriminator(wanted)[1]
            perceptual = losses.feature_distance(features, wanted_features)
        else:
            perceptual = self._perceptual(shown, wanted)
        wrong = l1 if own is painted else l1 + losses.masked_l1(own, target, mask)
        total = config.l1 * wrong + config.adversarial * adversarial + config.perceptual * perceptual
        self._descend("generator", total)
        return torch.stack([l1, adversarial, perceptual, discriminator]).detach()

    def _record(self) -> None:
        """Has a card record the step anew: what has been recorded knows only the tensors that there were."""
        self._recorded = Recorded(self._learn, self._device) if self._device.type == "cuda" else None

    def _average(self) -> None:
        """Moves the generator towards the learner's weights and batch statistics.

        Faster in the first steps, where it began with nothing worth keeping; with a prior that would show the swings of
        Adam's first steps (`still_life` after 15 steps: psnr 19.5, so 19.8).
        """
        part = 1 - AVERAGE if self.experienced else max(1 - AVERAGE, 9 / (self.step + 10))
        get_ema_multi_avg_fn(1 - part)(self._means, self._learnt, self.step)

    def _descend(self, name: str, loss: Tensor) -> None:
        optimizer = self._optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def _adam(self, network: nn.Module) -> torch.optim.Adam:
        config, on_card = self.config, self._device.type == "cuda"
        return torch.optim.Adam(
            network.parameters(),
            torch.tensor(config.rate, device=self._device) if on_card else config.rate,
            (config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
            capturable=on_card,
        )

    # When to stop, and how long that will take

    def _spent(self, budget: Budget, seconds: float) -> bool:
        if budget.seconds is None and budget.steps is None:
            gains = self._gains()
            return bool(gains) and gains[-1] < PLATEAU_GAIN
        return (budget.seconds is not None and seconds >= budget.seconds) or (
            budget.steps is not None and self.step >= budget.steps
        )

    def _remember(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.losses[name] = 0.98 * self.losses.get(name, value) + 0.02 * value
        self._window.append(values["l1"])
        if len(self._window) == self._window_steps:
            self._windows.append(sum(self._window) / len(self._window))
            self._window.clear()

    def _gains(self) -> list[float]:
        """By which part each whole window of steps was better than the one before."""
        return [1 - after / before for before, after in pairwise(self._windows)]

    def _seconds_left(self, budget: Budget, seconds: float, speed: float) -> float | None:
        left = []
        if budget.seconds is not None:
            left.append(budget.seconds - seconds)
        if budget.steps is not None and speed > 0:
            left.append((budget.steps - self.step) / speed)
        if not left and (gains := self._gains()) and speed > 0:
            # Gains shrink roughly as 1/n from window to window, so the n-th that falls below the threshold can be told.
            windows = max(gains[-1] * len(gains) / PLATEAU_GAIN, len(gains) + 1) + 1
            left.append((windows * self._window_steps - self.step) / speed)
        return max(0.0, min(left)) if left else None

    # Checkpoints

    def save(self, path: Path) -> None:
        """Everything that `resume` needs to go on as if nothing had happened, atomically, at `path`."""
        tensors: dict[str, Tensor] = {}
        tensors |= {f"averaged.{key}": value for key, value in self.generator.state_dict().items()}
        for name, network in (("generator", self._learner), ("discriminator", self._discriminator)):
            tensors |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
            for index, state in self._optimizers[name].state_dict()["state"].items():
                tensors |= {f"adam.{name}.{index}.{key}": value for key, value in state.items()}
        if (preferred := self._sampler.preferred) is not None:
            tensors["sampler.preferred"] = torch.from_numpy(preferred)
        facts = {
            "network": self.network.to_json(),
            "config": self.config.to_json(),
            "content": self._content,
            "step": self.step,
            "losses": self.losses,
            "windows": self._windows,
            "window": self._window,
            "sampler": self._sampler.state(),
        }
        save_checkpoint(path, tensors, facts)

    def resume(self, path: Path) -> bool:
        """Goes on from a checkpoint. False where the paintings, masks or footage have changed since: then what was
        learnt is kept and learning goes on with the new ones.

        Raises TrainingError where there is no checkpoint, or it is of another network or training configuration.
        """
        tensors, facts = load_checkpoint(path)
        for what, config in (("network", self.network), ("config", self.config)):
            ours, theirs = config.to_json(), type(config).from_json(facts[what]).to_json()
            changed = [f"{key} {theirs[key]}" for key in ours if theirs[key] != ours[key]]
            if changed:
                raise TrainingError(
                    f"the checkpoint {path} was made with {', '.join(changed)}; give the same to resume, or train "
                    "again without --resume"
                )
        self.generator.load_state_dict(_below(tensors, "averaged."))
        for name, network in (("generator", self._learner), ("discriminator", self._discriminator)):
            network.load_state_dict(_below(tensors, f"{name}."))
            optimizer = self._optimizers[name]
            states: dict[int, dict[str, Any]] = {}
            for key, value in _below(tensors, f"adam.{name}.").items():
                index, field = key.split(".")
                # The fused Adam goes through memory as it lies, so the moments must lie as the weights do.
                laid_out = value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
                states.setdefault(int(index), {})[field] = laid_out
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
        self._record()
        self.step = facts["step"]
        self.losses, self._windows, self._window = facts["losses"], facts["windows"], facts["window"]
        self._sampler.restore(facts["sampler"])
        same = facts["content"] == self._content
        if same and (preferred := tensors.get("sampler.preferred")) is not None:
            self._sampler.prefer(preferred.numpy())
        return same


@contextmanager
def _room_on_the_card() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise TrainingError(
            "the graphics card has not enough memory left; close what else uses it (what was learnt is in the "
            "checkpoint), or train with --device cpu"
        ) from None


def _set_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], Tensor):  # which what has been recorded reads
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _of_frame(keyframes: Sequence[Keyframe], frame: int) -> Keyframe:
    for key in keyframes:
        if key.frame == frame:
            return key
    painted = ", ".join(str(key.frame) for key in keyframes)
    raise TrainingError(f"keyframe {frame}, which the guide leads to, is not painted; take one that is: {painted}")


def _channels_last(network: NetworkT) -> NetworkT:
    """Laid out so that the convolutions of small patches run a quarter faster, on CPUs, too."""
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
