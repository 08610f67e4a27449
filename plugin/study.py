"""A search for settings that any number of workers share: a file in which candidates are handed out and results kept.

The file is Optuna's journal, which works on NFS as well as on one machine. Nothing else connects the workers, so each
may come, go, be told to stop or be killed at any time. Three things follow from handing out candidates one worker at a
time, under a lock:

- a grid point is tried once, and the number of trials is what was asked for, however many workers there are;
- the candidate of a worker that stopped goes to the next one who asks, before any new one;
- the n-th candidate follows from the seed and from the results that were there before, wherever it is asked for.
"""

import contextlib
import functools
import itertools
import math
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from fewstroke.engine.config import Preset, Settings
from fewstroke.engine.errors import FewstrokeError, ParameterError

Sampler = Literal["tpe", "grid"]
Value = int | float
Space = Mapping[str, tuple[Value, ...]]
"""What is searched: for each parameter the values that a grid has. TPE takes anything between the least and the
greatest of them."""

SPACES: Mapping[Preset, Space] = {
    "fast": {
        "patch": (12, 16, 24, 32, 48),
        "batch": (10, 20, 40, 80),
        "rate": (5e-4, 1e-3, 2e-3, 4e-3, 8e-3),
        "blocks": (1, 2, 3, 4, 6),
        "filters": (16, 32, 48, 64, 96),
    },
    "paper": {
        "patch": (16, 24, 32, 36, 48, 64),
        "batch": (10, 20, 40, 80),
        "rate": (2e-4, 4e-4, 8e-4, 16e-4, 32e-4),
        "blocks": (3, 5, 7, 9, 12),
        "filters": (64, 96, 128, 192),
    },
}
"""What is searched unless something else is asked for: the paper's intervals, less what only a graphics card could
train in a minute."""

GRAIN = {"patch": 4, "batch": 1, "blocks": 1, "filters": 8}
"""Whole numbers go in such steps: patches fit the network's strides, filters the processor's registers."""
LOGARITHMIC = ("batch", "rate")
STARTUP = 10
"""Random candidates before TPE has something to go by; Optuna's own default."""
ATTEMPTS = 3
"""A candidate that so many workers died of is given up."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # what is to be said is said by our own output


def parse_space(preset: Preset, given: Sequence[str]) -> Space:
    """The preset's space, where "patch=16,32" and its like do not say otherwise. Raises ParameterError."""
    space = dict(SPACES[preset])
    for text in given:
        name, _, values = text.partition("=")
        if name not in space or not values:
            known = ", ".join(space)
            raise ParameterError(f"--search '{text}' should be one of {known}, = and values, such as patch=16,32,48")
        kind = float if name == "rate" else int
        try:
            space[name] = tuple(sorted({kind(value) for value in values.split(",")}))
        except ValueError:
            what = "numbers" if kind is float else "whole numbers"
            raise ParameterError(f"--search '{text}' should have {what} after the =, between commas") from None
        for value in space[name]:
            if not 0 < value < math.inf:
                raise ParameterError(f"--search '{text}' has {value}, but {name} must be greater than 0")
            if name in GRAIN and value % GRAIN[name]:
                raise ParameterError(f"--search '{text}' has {value}, but {name} goes in steps of {GRAIN[name]}")
            settings_of(preset, {**{key: each[0] for key, each in space.items()}, name: value})
    return space


def settings_of(preset: Preset, parameters: Mapping[str, Value], seed: int = 0) -> Settings:
    """The settings of a candidate. Raises ParameterError where a value cannot be."""
    training = {name: parameters[name] for name in ("patch", "batch", "rate")}
    network = {name: parameters[name] for name in ("blocks", "filters")}
    return Settings.from_json({"network": {"preset": preset, **network}, "training": {"seed": seed, **training}})


def default_parameters(preset: Preset) -> dict[str, Value]:
    """What a preset is trained with where nobody searched."""
    settings = Settings.for_preset(preset)
    values = {**settings.network.to_json(), **settings.training.to_json()}
    return {name: values[name] for name in SPACES[preset]}


@dataclass(frozen=True)
class Search:
    """What one study is about. Workers of one study agree in all of it.

    seconds   T_t: how long a candidate is trained
    limit     T_i: how long its network may take for a frame, seconds; None: any time
    patience  a worker that has not been heard of for so long is taken for dead, seconds
    facts     what else must be the same for figures to be comparable, by the option that says it; JSON values
    """

    preset: Preset
    space: Space
    sampler: Sampler
    seconds: float
    limit: float | None
    seed: int
    patience: float
    facts: Mapping[str, Any]

    def settings(self, parameters: Mapping[str, Value]) -> Settings:
        """Those of a candidate."""
        return settings_of(self.preset, parameters, self.seed)

    def options(self) -> dict[str, Any]:
        """All of it, by option, as JSON values for people to read."""
        space = "; ".join(f"{name}={','.join(map(str, values))}" for name, values in self.space.items())
        return {
            "--preset": self.preset,
            "--search": space,
            "--sampler": self.sampler,
            "--time": self.seconds,
            "--frame-time": self.limit,
            "--seed": self.seed,
            "--patience": self.patience,
            **self.facts,
        }

    @functools.cached_property
    def grid(self) -> list[tuple[Value, ...]]:
        """Every point, the preset's own first, the others shuffled, so that part of a grid says something of all."""
        points = list(itertools.product(*self.space.values()))
        random.Random(self.seed).shuffle(points)
        own = default_parameters(self.preset)
        return sorted(points, key=lambda point: point != tuple(own[name] for name in self.space))


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate.

    loss     what is minimised, or None where it was refused
    refused  why, or None
    figures  what was measured: frame_seconds, steps, l1, texture, psnr
    """

    loss: float | None
    refused: str | None
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Result:
    """A candidate that is done with: its number, parameters and outcome. An outcome of None: workers died of it."""

    number: int
    parameters: Mapping[str, Value]
    outcome: Outcome | None


@dataclass(frozen=True)
class Candidate:
    """What a worker is to try."""

    trial: optuna.Trial
    parameters: Mapping[str, Value]

    @property
    def number(self) -> int:
        return self.trial.number


class Study:
    """The file, to be read."""

    def __init__(self, path: Path):
        """Raises FewstrokeError where there is no file, or it is something else."""
        if not path.is_file():
            raise FewstrokeError(f"there is no study {path}; `fewstroke tune` with footage and key frames begins one")
        self.path = path
        self._study = _load(path)

    @property
    def options(self) -> Mapping[str, Any]:
        """What was searched, by option; empty where a worker was killed before it could say so."""
        return self._study.user_attrs.get("options", {})

    @property
    def command(self) -> Sequence[str]:
        """Arguments of `fewstroke train` for the same shot, but for settings and model."""
        return self._study.user_attrs.get("command", ())

    def results(self) -> list[Result]:
        """Every candidate that is done with, in the order in which they were handed out."""
        return [_result(trial) for trial in self._trials() if _is_done(trial)]

    def running(self) -> int:
        """How many candidates are being tried, as far as is known."""
        return sum(trial.state is TrialState.RUNNING for trial in self._trials())

    def best(self) -> Result | None:
        """The candidate of the least loss."""
        tried = [result for result in self.results() if result.outcome and result.outcome.loss is not None]
        return min(tried, key=lambda result: result.outcome.loss, default=None)  # type: ignore[union-attr, return-value]

    def importances(self) -> dict[str, float]:
        """How much each parameter that varied decides whether a candidate is among the best; 1 in all. Empty while
        there are too few results. By PED-ANOVA (Watanabe et al. 2023)."""
        done = [trial for trial in self._trials() if trial.state is TrialState.COMPLETE]
        varied = [name for name in (done[0].params if done else ()) if len({trial.params[name] for trial in done}) > 1]
        if len(done) < STARTUP or not varied:
            return {}
        return optuna.importance.get_param_importances(self._study, params=varied)

    def _trials(self) -> list[FrozenTrial]:
        try:
            return self._study.get_trials(deepcopy=False)
        except ValueError:  # of the journal's parser
            raise FewstrokeError(_damaged(self.path)) from None


class Queue(Study):
    """The file, for one worker.

        queue = Queue(path, search, command)
        while isinstance(candidate := queue.next(trials), Candidate):
            with queue.alive(candidate):
                outcome = ...
            queue.tell(candidate, outcome)

    Methods may be called by several threads.
    """

    def __init__(self, path: Path, search: Search, command: Sequence[str]):
        """Joins the study at `path`, or begins it.

        command  arguments of `fewstroke train` that train on the same shot, for `Study.command`

        Raises ParameterError where it was begun with another search, FewstrokeError where it cannot be used.
        """
        self.path, self._search = path, search
        with self._turn():
            self._study = _load(path, create=True)
            begun = self.options
            if not begun:
                self._study.set_user_attr("command", list(command))
                self._study.set_user_attr("options", search.options())
                return
        for name, ours in search.options().items():
            if begun.get(name) != ours:
                raise ParameterError(
                    f"the study {path} was begun with {name} {_said(begun.get(name))}, this command says "
                    f"{_said(ours)}; give the same, or choose another --study"
                )

    def next(self, trials: int) -> Candidate | Literal["wait"] | None:
        """The next candidate; "wait" while others try the last ones, who may yet fail; None when all is done.

        trials  how many there are to be in all, of all workers; of a grid no more than it has points
        """
        with self._turn():
            self._bury()
            known = self._trials()
            running = [trial for trial in known if trial.state is TrialState.RUNNING]
            done = [trial for trial in known if _is_done(trial)]
            if len(done) + len(running) >= trials:
                return "wait" if running and len(done) < trials else None
            if not any(trial.state is TrialState.WAITING for trial in known):
                wanted, attributes = self._wanted(known)
                if wanted is not None:
                    self._study.enqueue_trial(wanted, user_attrs=attributes)
                elif self._search.sampler == "grid":
                    return "wait" if running else None
            # Made anew, so that it does not matter who asks.
            self._study.sampler = optuna.samplers.TPESampler(
                seed=self._search.seed + len(known), n_startup_trials=STARTUP, multivariate=True, constant_liar=True
            )
            trial = self._study.ask()
            parameters = {name: _suggest(trial, name, values) for name, values in self._search.space.items()}
            trial.set_user_attr("beat", time.time())
            return Candidate(trial, parameters)

    def _wanted(self, known: Sequence[FrozenTrial]) -> tuple[dict[str, Value] | None, dict[str, Any]]:
        """Parameters that are to be tried next whatever the sampler thinks, and what is to be kept with them."""
        followed = {trial.user_attrs.get("after") for trial in known}
        for trial in known:
            if trial.state is TrialState.FAIL and not _is_done(trial) and trial.number not in followed:
                attempt = trial.user_attrs.get("attempt", 1) + (0 if trial.user_attrs.get("released") else 1)
                if len(trial.params) == len(self._search.space):  # else it died before it knew what to try
                    return dict(trial.params), {"after": trial.number, "attempt": attempt}
        if self._search.sampler == "grid":
            taken = {tuple(trial.params.get(name) for name in self._search.space) for trial in known}
            free = next((point for point in self._search.grid if point not in taken), None)
            return None if free is None else dict(zip(self._search.space, free, strict=True)), {}
        own = default_parameters(self._search.preset)
        inside = all(values[0] <= own[name] <= values[-1] for name, values in self._search.space.items())
        return (own if inside and not known else None), {}

    def _bury(self) -> None:
        """Gives the candidates of dead workers free."""
        for trial in self._trials():
            if trial.state is TrialState.RUNNING:
                assert trial.datetime_start is not None
                heard = trial.user_attrs.get("beat", trial.datetime_start.timestamp())
                if time.time() - heard > self._search.patience:
                    self._study.tell(trial.number, state=TrialState.FAIL)

    @contextlib.contextmanager
    def alive(self, candidate: Candidate) -> Iterator[None]:
        """Within, the other workers are told from time to time that this one has not died."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self._search.patience / 6):
                # The file server may be away for a while; a candidate that was given to another is none of ours.
                with contextlib.suppress(OSError, RuntimeError):
                    candidate.trial.set_user_attr("beat", time.time())

        thread = threading.Thread(target=beat, name="fewstroke-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def tell(self, candidate: Candidate, outcome: Outcome) -> bool:
        """Keeps a result. False where the candidate was given to another worker, since this one had been silent."""
        trial = candidate.trial
        with self._turn():
            if self._study.get_trials(deepcopy=False)[trial.number].state is not TrialState.RUNNING:
                return False
            trial.set_user_attr("figures", dict(outcome.figures))
            # What takes too long is worse the longer it takes, so that TPE leaves such networks alone.
            limit, took = self._search.limit, outcome.figures.get("frame_seconds")
            if limit is not None and took is not None:
                trial.set_constraint("frame time", took - limit)
            if outcome.refused is not None:
                trial.set_user_attr("refused", outcome.refused)
                self._study.tell(trial, state=TrialState.PRUNED)
            else:
                self._study.tell(trial, outcome.loss)
            return True

    def release(self, candidate: Candidate) -> None:
        """Gives a candidate back that was not tried to the end; the next who asks gets it."""
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # else it is found by its silence
            candidate.trial.set_user_attr("released", True)
            self._study.tell(candidate.trial, state=TrialState.FAIL)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Within, no other worker hands out or keeps anything. One that is killed within holds up the others for half
        a minute."""
        lock = JournalFileOpenLock(f"{self.path}.turn")
        try:
            lock.acquire()
            try:
                yield
            finally:
                with contextlib.suppress(RuntimeError):  # it was taken from us, since we were asleep for so long
                    lock.release()
        except OSError as error:
            raise FewstrokeError(
                f"the study {self.path} cannot be written ({error.strerror}); choose a folder that exists, is writable "
                "and has space left"
            ) from None


def _load(path: Path, create: bool = False) -> optuna.Study:
    name = "fewstroke"
    try:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))
        if create:
            return optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
        return optuna.load_study(storage=storage, study_name=name)
    except OSError as error:
        raise FewstrokeError(f"the study {path} cannot be opened ({error.strerror}); choose another file") from None
    except Exception:  # whatever the journal's parser makes of a file that is none
        raise FewstrokeError(_damaged(path)) from None


def _damaged(path: Path) -> str:
    return f"the file {path} is damaged or no study; choose another --study, or delete it to begin anew"


def _suggest(trial: optuna.Trial, name: str, values: Sequence[Value]) -> Value:
    low, high = values[0], values[-1]
    if name not in GRAIN:
        return trial.suggest_float(name, low, high, log=True)
    if name in LOGARITHMIC:
        return trial.suggest_int(name, int(low), int(high), log=True)
    return trial.suggest_int(name, int(low), int(high), step=GRAIN[name])


def _is_done(trial: FrozenTrial) -> bool:
    """Whether nobody need try it again."""
    if trial.state is TrialState.FAIL:
        return not trial.user_attrs.get("released") and trial.user_attrs.get("attempt", 1) >= ATTEMPTS
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)


def _result(trial: FrozenTrial) -> Result:
    attributes = trial.user_attrs
    if trial.state is TrialState.FAIL:
        return Result(trial.number, trial.params, None)
    loss = trial.value if trial.state is TrialState.COMPLETE else None
    return Result(trial.number, trial.params, Outcome(loss, attributes.get("refused"), attributes.get("figures", {})))


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return "nothing" if value in (None, "") else str(value)
