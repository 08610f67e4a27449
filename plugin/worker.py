"""`fewstroke worker`: one process beside a host that makes frames and trains, for as long as the host lives.

Hosts (Blender, a farm's session) never import the engine: they start this process and talk to it, see client.py.

- A request is one line of JSON on standard input: {"id": 7, "do": "frame", ...}, the fields being the arguments of the
  `Worker` method of that name. Requests run side by side; trainings one after another.
- Each answer is one line on standard output: {"id": 7, "event": ...}. Every request ends in exactly one "done", "error"
  (with "message", the sentence to show, and "kind", "path" and "frame" where known) or "cancelled"; a training says
  "loaded", "step" and "model" before. Nothing else is ever printed there: what libraries print goes to standard error.
- Pixels travel as files, written whole or not at all and stamped with what they were made of, so that a frame that is
  already right is not made again, whoever made it.
- {"do": "cancel", "of": 7} ends a request; a training then keeps what it has learnt and is "done".
- The process ends, training kept, when standard input does: it cannot outlive its host.
"""

import contextlib
import importlib.util
import inspect
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from fewstroke.engine import color
from fewstroke.engine.errors import CancelledError, FewstrokeError, ParameterError, TrainingError
from fewstroke.engine.sessions import Device, read_info
from fewstroke.nodes.graph import load_graph
from fewstroke.nodes.guide import GuideParams
from fewstroke.nodes.node import Node
from fewstroke.nodes.prefilter import PrefilterParams
from fewstroke.nodes.render import Evaluator
from fewstroke.nodes.shot import Painting, Shot, as_trained, load_keyframes, stylized, with_exemplars
from fewstroke.nodes.write import Write, WriteParams

PROTOCOL = 1
"""Raised when a host that was written for an older worker could not talk to this one."""

MODEL_SECONDS = 6.0
"""How often a training writes its model, so that the host can show frames as they are painted by now."""

MODEL_STEPS = 30
"""When it first does: a network that has learnt less paints little but black."""

STEP_SECONDS = 0.25
"""How often a training reports."""

WANTS = ("painted", "footage", "filtered", "guide")
"""What `frame` can make of a shot."""

Tell = Callable[..., None]
"""`tell(event, **facts)`: says something about the request that is being answered."""


class _Stop(threading.Event):
    """Set when a request is to end."""

    def cancel(self) -> None:
        """A `Cancel` of the node contract."""
        if self.is_set():
            raise CancelledError


class Worker:
    """Answers requests. `answer` is called with each, as a dict of JSON values, from any thread."""

    def __init__(self, answer: Callable[[dict[str, Any]], None]):
        self._answer = answer
        self._evaluate = Evaluator()
        self._stops: dict[Any, _Stop] = {}
        self._frames = ThreadPoolExecutor(os.cpu_count() or 1, "fewstroke-request")
        self._trainings = ThreadPoolExecutor(1, "fewstroke-training")
        self._requests = {
            "hello": self.hello,
            "footage": self.footage,
            "model": self.model,
            "frame": self.frame,
            "train": self.train,
        }

    def serve(self, lines: Iterable[str]) -> None:
        """Takes requests until there are no more; then ends those that run, and returns when they have."""
        for line in lines:
            self._take(line)
        for stop in list(self._stops.values()):
            stop.set()
        self._frames.shutdown()
        self._trainings.shutdown()

    # ---- what can be asked

    def hello(self, tell: Tell, stop: _Stop) -> dict[str, Any]:
        """Whom one is talking to, and whether it can train."""
        return {
            "protocol": PROTOCOL,
            "python": sys.version.split()[0],
            "trains": importlib.util.find_spec("torch") is not None,
        }

    def footage(self, tell: Tell, stop: _Stop, shot: Mapping[str, Any]) -> dict[str, Any]:
        """Frames, size and colour of a shot's footage.

        linear  whether its space is scene-linear; results are then in that space, else in linear Rec.709
        """
        node = _shot(shot).footage_node
        frames = node.frames()
        first = self._evaluate(node, frames.frames[0], stop.cancel)
        return {
            "frames": str(frames),
            "width": first.width,
            "height": first.height,
            "space": node.space(),
            "linear": color.is_scene_linear(node.space()),
        }

    def model(self, tell: Tell, stop: _Stop, model: str) -> dict[str, Any]:
        """The facts of a model, as `ModelInfo` names them."""
        return asdict(read_info(model))

    def frame(
        self,
        tell: Tell,
        stop: _Stop,
        frame: int,
        out: str = "",
        *,
        graph: str = "",
        shot: Mapping[str, Any] | None = None,
        want: str = "painted",
        model: str = "",
        strength: float = 1.0,
        steadiness: float = 0.0,
        device: str = Device.AUTO,
        compression: str = "zip",
    ) -> dict[str, Any]:
        """One frame, written to `out` (`painted.####.exr`) unless what lies there is that very frame.

        Either of a graph, the path of a JSON file, whose last node may be a Write in place of `out`; or of a shot: the
        fields of `Shot`, and what is wanted of it. "painted" is made with `model`, which decides prefilter and guide.

        Gives the file's path, its colour space, and whether it was made just now.
        """
        if graph:
            node = load_graph(Path(graph))
            working = ""
        elif shot is not None:
            node, working = _wanted(want, shot, model, strength, steadiness, device)
            if os.path.abspath(out) == os.path.abspath(shot["footage"]):
                raise ParameterError(f"the frames would be written over the footage, {out}; choose another name")
        else:
            raise ParameterError("a frame needs a graph or a shot; give either")
        if not isinstance(node, Write):
            node = Write(WriteParams(out, working=working, compression=compression), image=node)
        node.check([frame])
        made = not node.is_done(frame)
        if made:
            self._evaluate(node, frame, stop.cancel)
        return {"frame": frame, "path": str(node.path_of(frame)), "space": node.space(), "made": made}

    def train(
        self,
        tell: Tell,
        stop: _Stop,
        shot: Mapping[str, Any],
        keyframes: Iterable[Mapping[str, Any]],
        out: str,
        *,
        resume: bool = True,
        seconds: float | None = None,
        steps: int | None = None,
        preset: Any = "fast",
        seed: int = 0,
        device: str | None = None,
    ) -> dict[str, Any]:
        """Trains until the budget is spent, the loss no longer falls, or the request is cancelled.

        keyframes  for each the fields of `Painting`
        out        the model; written every few seconds, with the event "model", and at the end
        resume     go on from the checkpoint beside `out`, where there is one

        Gives the model's path, the steps done, and the colour space that its frames will be in.
        """
        # torch takes two seconds to import, so what the user gave is looked at first.
        paintings = [Painting(**keyframe) for keyframe in keyframes]
        if not paintings:
            raise TrainingError("there is no keyframe to learn from; paint a frame first")
        painted_shot = with_exemplars(_shot(shot), paintings, preset, cancel=stop.cancel)
        learnt_from = load_keyframes(painted_shot, paintings, cancel=stop.cancel)
        try:
            from fewstroke.engine.train import Budget
            from fewstroke.plugin.trainer import Trainer, checkpoint_of
        except ModuleNotFoundError as error:
            raise TrainingError(
                f"training needs the package {error.name}, which rendering does without; install it in the environment "
                f"of {sys.executable}"
            ) from None
        path = Path(out)
        resume = resume and checkpoint_of(path).exists()
        trainer = Trainer(
            painted_shot, paintings, learnt_from, path, preset=preset, seed=seed, resume=resume, device=device
        )
        tell("loaded", step=trainer.step)
        told = written = time.monotonic()
        for report in trainer.run(Budget(seconds, steps)):
            now = time.monotonic()
            if now - told > STEP_SECONDS:
                tell("step", **asdict(report))
                told = now
            if now - written > MODEL_SECONDS and trainer.step >= MODEL_STEPS:
                trainer.finish()
                tell("model", model=out, step=trainer.step)
                written = time.monotonic()
            if stop.is_set():
                break
        trainer.finish()
        return {"model": out, "step": trainer.step, "space": painted_shot.footage_node.working()}

    # ---- how it is answered

    def _take(self, line: str) -> None:
        """Starts what a line asks for."""
        request: Any = None
        try:
            request = json.loads(line)
            name, fields = request["id"], {key: value for key, value in request.items() if key not in ("id", "do")}
            do = request["do"]
        except (ValueError, TypeError, KeyError):
            name = request.get("id") if isinstance(request, dict) else None
            self._fail(name, ParameterError(f"'{line.strip()[:80]}' is no request; send a line of JSON with id and do"))
            return
        if do == "cancel":
            if stop := self._stops.get(fields.get("of")):
                stop.set()
            self._answer({"id": name, "event": "done"})
        elif do not in self._requests:
            self._fail(name, ParameterError(f"there is no request '{do}'; there are {', '.join(self._requests)}"))
        else:
            self._stops[name] = _Stop()
            pool = self._trainings if do == "train" else self._frames
            pool.submit(self._run, name, self._requests[do], fields)

    def _run(self, name: Any, request: Callable[..., dict[str, Any]], fields: Mapping[str, Any]) -> None:
        """Answers one request, whatever happens."""
        stop = self._stops[name]

        def tell(event: str, **facts: Any) -> None:
            self._answer({"id": name, "event": event, **facts})

        try:
            stop.cancel()
            try:
                arguments = inspect.signature(request).bind(tell, stop, **fields)
            except TypeError as error:
                raise ParameterError(f"the request '{request.__name__}' cannot be understood: {error}") from None
            facts = request(*arguments.args, **arguments.kwargs)
        except CancelledError:
            tell("cancelled")
        except Exception as error:
            self._fail(name, error)
        else:
            tell("done", **facts)
        finally:
            del self._stops[name]

    def _fail(self, name: Any, error: Exception) -> None:
        """Errors made on purpose are passed on; anything else is a bug of ours, and says so."""
        message = str(error)
        if not isinstance(error, FewstrokeError):
            traceback.print_exception(error)
            message = f"Fewstroke failed unexpectedly ({type(error).__name__}: {error}); please report it as a bug"
        path = getattr(error, "path", None)
        self._answer(
            {
                "id": name,
                "event": "error",
                "kind": type(error).__name__,
                "message": message,
                "path": None if path is None else str(path),
                "frame": getattr(error, "frame", None),
            }
        )


def _shot(fields: Mapping[str, Any]) -> Shot:
    """A shot from JSON. Raises ParameterError where a field is unknown."""
    try:
        prefilter, guide = fields.get("prefilter"), fields.get("guide")
        return Shot(
            **{
                **fields,
                "prefilter": None if prefilter is None else PrefilterParams(**prefilter),
                "guide": None if guide is None else GuideParams(**guide),
            }
        )
    except TypeError as error:
        raise ParameterError(f"this is no shot: {str(error).partition(') ')[2] or error}") from None


_LEARNT = ("prefilter", "guide", "exemplars")
"""What of a shot its model decides."""


def _wanted(
    want: str, fields: Mapping[str, Any], model: str, strength: float, steadiness: float, device: str
) -> tuple[Node, str]:
    """The node that makes what is wanted of a shot, and the scene-linear space of its result."""
    if want not in WANTS:
        raise ParameterError(f"there is no '{want}' of a shot; there is {', '.join(WANTS)}")
    if want == "painted":
        info = read_info(model)
        # The model knows its prefilter, guide and exemplars; whatever else says where the shot lies is passed on.
        _shot(fields)  # complains of what no shot has
        shot = as_trained(info, **{key: value for key, value in fields.items() if key not in _LEARNT})
        return stylized(shot, model, strength=strength, steadiness=steadiness, device=device), info.working_space
    shot = _shot(fields)
    node = {"footage": shot.footage_node, "filtered": shot.source_node, "guide": shot.guide_node}[want]
    if node is None:
        raise ParameterError("the guide is wanted of a shot without one; give the guide's parameters")
    return node, shot.footage_node.working()


def run(requests: TextIO) -> None:
    """Serves requests on standard output, which from here on belongs to the answers alone."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints, natively or not
    lock = threading.Lock()

    def answer(event: dict[str, Any]) -> None:
        line = json.dumps(event) + "\n"
        # Where the host is gone, requests are about to end, too; a training must not lose its last steps over this.
        with lock, contextlib.suppress(OSError):
            answers.write(line)
            answers.flush()

    Worker(answer).serve(requests)
