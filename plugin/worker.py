"""`fewstroke worker`: one process beside a host that makes frames and trains, for as long as the host lives.

Hosts (Blender, a farm's session) never import the engine: they start this process and talk to it, see client.py.

- A request is one line of JSON on standard input: {"id": 7, "do": "frame", ...}, the fields being the arguments of the
  `Worker` method of that name. Requests run side by side; trainings one after another.
- Each answer is one line on standard output: {"id": 7, "event": ...}. Every request ends in exactly one "done", "error"
  (with "message", the sentence to show, and "kind", "path" and "frame" where known) or "cancelled"; a training says
  "loaded", "step" and "model" before, a rendering "frame". Nothing else is ever printed there: what libraries print
  goes to standard error.
- Pixels travel as files, written whole or not at all and stamped with what they were made of, so that a frame that is
  already right is not made again, whoever made it. Where an asker wants them at once, a "frame" also takes memory that
  both can see (`share`): the asker makes it and takes it away, the worker fills it (see client.py's `SharedMemory`).
- {"do": "cancel", "of": 7} ends a request; a training then keeps what it has learnt and is "done".
- {"do": "quit"} ends the process once its requests have ended, which they are told to; so does the end of standard
  input, so that it cannot outlive its host. Trainings are kept.
- `fewstroke worker --socket PATH` speaks the same on a Unix socket, with any number of askers, each with numbers of its
  own; an asker's requests end when it hangs up. A farm's session starts it and its tasks ask it, see task.py.
"""

import contextlib
import importlib.util
import inspect
import json
import math
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from fewstroke.engine import color
from fewstroke.engine.config import Settings
from fewstroke.engine.errors import CancelledError, FewstrokeError, ImageError, ParameterError, TrainingError
from fewstroke.engine.frames import FrameRange
from fewstroke.engine.image import Image
from fewstroke.engine.sessions import Device, read_info
from fewstroke.nodes.graph import load_graph, load_write
from fewstroke.nodes.guide import GuideParams
from fewstroke.nodes.mapping import PathMapping
from fewstroke.nodes.node import Node
from fewstroke.nodes.prefilter import PrefilterParams
from fewstroke.nodes.render import Evaluator, FrameDone, finish_frames, prepare_frames
from fewstroke.nodes.shot import Painting, Shot, as_trained, load_keyframes, stylized, with_exemplars
from fewstroke.nodes.write import Found, Write, WriteParams, discard_unfinished
from fewstroke.plugin.client import PROTOCOL

MODEL_SECONDS = 6.0
"""How often a training writes its model, so that the host can show frames as they are painted by now."""

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
    """Answers requests. `answer` is called with each, as a dict of JSON values, from any thread.

    evaluator  where several share what they know
    """

    def __init__(self, answer: Callable[[dict[str, Any]], None], evaluator: Evaluator | None = None):
        self._answer = answer
        self._evaluate = evaluator or Evaluator()
        self.quitting = False
        self._stops: dict[Any, _Stop] = {}
        self._frames = ThreadPoolExecutor(os.cpu_count() or 1, "fewstroke-request")
        self._trainings = ThreadPoolExecutor(1, "fewstroke-training")
        self._requests = {
            "hello": self.hello,
            "footage": self.footage,
            "model": self.model,
            "frame": self.frame,
            "prepare": self.prepare,
            "render": self.render,
            "train": self.train,
        }

    def serve(self, lines: Iterable[str]) -> None:
        """Takes requests until there are no more; then ends those that run, and returns when they have."""
        for line in lines:
            self._take(line)
            if self.quitting:
                break
        for stop in list(self._stops.values()):
            stop.set()
        self._frames.shutdown()
        self._trainings.shutdown()

    # ---- what can be asked

    def hello(self, tell: Tell, stop: _Stop) -> dict[str, Any]:
        """Whom one is talking to, whether it can train, and the colour configuration that it goes by."""
        return {
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "python": sys.version.split()[0],
            "ocio": os.environ.get("OCIO", ""),
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
        share: str = "",
    ) -> dict[str, Any]:
        """One frame, written to `out` (`painted.####.exr`) unless what lies there is that very frame.

        Either of a graph, the path of a JSON file, whose last node may be a Write in place of `out`; or of a shot: the
        fields of `Shot`, and what is wanted of it. "painted" is made with `model`, which decides prefilter and guide.

        Gives the file's path, its colour space, and whether it was made just now.

        share  a file, such as `SharedMemory.path`, that is filled with the picture: numbers of single precision, row by
               row from the top, scene-linear, no half floats in between. With it, `out` may be left out. Gives also
               "shared": the shape (height, width, channels), the colour space, and what alpha means.
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
        done: dict[str, Any] = {"frame": frame}
        if not isinstance(node, Write) and (out or not share):
            node = Write(WriteParams(out, working=working, compression=compression), image=node)
        if isinstance(node, Write):
            node.check([frame])
            made = not node.is_done(frame)
            if made:
                self._evaluate(node, frame, stop.cancel)
            done |= {"path": str(node.path_of(frame)), "space": node.space(), "made": made}
            node, working = node.inputs["image"], node.working()
        if share:
            image = self._evaluate(node, frame, stop.cancel)
            _fill(share, image, frame)
            done["shared"] = {"shape": image.pixels.shape, "space": working, "alpha": image.alpha.value}
        return done

    def render(self, tell: Tell, stop: _Stop, **fields: Any) -> dict[str, Any]:
        """Frames of a saved graph that ends in a Write (see `_Frames`); those that are there already are left alone.

        Says "frame" for each, with its path and what was found in its place (`Found`). Gives the frames by what was
        found: those under "damaged" and "foreign" were made again.
        """
        asked = _Frames.of(fields)
        found: dict[Found, list[int]] = {kind: [] for kind in Found}
        for event in asked.each(finish_frames, stop, self._evaluate):
            found[event.result].append(event.frame)
            path = str(asked.write.path_of(event.frame))
            tell("frame", frame=event.frame, path=path, found=event.result, done=event.done, total=event.total)
        return {kind: str(FrameRange.of(sorted(frames))) for kind, frames in found.items()}

    def prepare(self, tell: Tell, stop: _Stop, **fields: Any) -> dict[str, Any]:
        """Works out motion and registrations of the same frames into the disk cache; says "frame" for each."""
        for event in _Frames.of(fields).each(prepare_frames, stop, self._evaluate):
            tell("frame", frame=event.frame, done=event.done, total=event.total)
        return {}

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
        out        the model; written as soon as it may be looked at, every few seconds, and at the end, with the event
                   "model"
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
        settings = Settings.for_preset(preset, seed)
        trainer = Trainer(painted_shot, paintings, learnt_from, path, settings=settings, resume=resume, device=device)
        tell("loaded", step=trainer.step)
        told, written = time.monotonic(), -math.inf
        for report in trainer.run(Budget(seconds, steps)):
            now = time.monotonic()
            if now - told > STEP_SECONDS:
                tell("step", **asdict(report))
                told = now
            if now - written > MODEL_SECONDS and trainer.presentable:
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
        elif do == "quit":
            self.quitting = True
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


@dataclass(frozen=True)
class _Frames:
    """Frames of a graph, and how many at once."""

    write: Write
    frames: FrameRange
    jobs: int

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "_Frames":
        """From the fields of a request. Raises ParameterError where one is unknown."""
        try:
            return cls.load(**fields)
        except TypeError as error:
            raise ParameterError(f"these are no frames of a graph: {str(error).partition(') ')[2] or error}") from None

    @classmethod
    def load(
        cls,
        graph: str,
        frames: str = "",
        *,
        syntax: str = "fileseq",
        map: Iterable[str] = (),
        path_mapping: str = "",
        jobs: int = 0,
        device: str = Device.AUTO,
    ) -> "_Frames":
        """What may be asked.

        frames        "1001-1040x2"; as OpenJobDescription writes it where `syntax` is "openjd"; empty: all there are
        map           "THERE=HERE" texts: where paths in the graph lie on this machine
        path_mapping  the same as a rules file of OpenJobDescription
        jobs          frames at once; 0: one per core
        """
        mapping = PathMapping.parse(map)
        if path_mapping:
            mapping += PathMapping.read_openjd(Path(path_mapping))
        wanted = None
        if frames:
            wanted = FrameRange.from_openjd(frames) if syntax == "openjd" else FrameRange.parse(frames)
        cores = os.cpu_count() or 1
        jobs = min(jobs or cores, cores if wanted is None else len(wanted))
        write = load_write(Path(graph), mapping=mapping, device=device, threads=max(1, cores // jobs))
        wanted = wanted or write.frames()
        write.check(wanted)
        return cls(write, wanted, jobs)

    def each(self, do: Callable[..., Iterator[FrameDone]], stop: _Stop, evaluator: Evaluator) -> Iterator[FrameDone]:
        return do(self.write, self.frames, jobs=self.jobs, cancel=stop.cancel, evaluator=evaluator)


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


_LEARNT = ("prefilter", "guide", "exemplars", "lights", "response")
"""What of a shot its model decides."""


def _wanted(
    want: str, fields: Mapping[str, Any], model: str, strength: float, steadiness: float, device: str
) -> tuple[Node, str]:
    """The node that makes what is wanted of a shot, and the scene-linear space of its result."""
    if want not in WANTS:
        raise ParameterError(f"there is no '{want}' of a shot; there is {', '.join(WANTS)}")
    if want == "painted":
        info = read_info(model)
        # The model knows what it learnt from; whatever else says where the shot lies is passed on.
        _shot(fields)  # complains of what no shot has
        shot = as_trained(info, **{key: value for key, value in fields.items() if key not in _LEARNT})
        return stylized(shot, model, strength=strength, steadiness=steadiness, device=device), info.working_space
    shot = _shot(fields)
    node = {"footage": shot.footage_node, "filtered": shot.source_node, "guide": shot.guide_node}[want]
    if node is None:
        raise ParameterError("the guide is wanted of a shot without one; give the guide's parameters")
    return node, shot.footage_node.working()


def _fill(share: str, image: Image, frame: int) -> None:
    """Puts a picture into memory of the asker's. Raises ImageError where that is not there."""
    try:
        # Never made shorter: what the asker has mapped must not vanish under it.
        with open(share, "r+b") as file:
            file.write(np.ascontiguousarray(image.pixels, np.float32).data)
    except OSError as error:
        raise ImageError(
            f"frame {frame} cannot be shared through {share} ({error.strerror}); asker and worker must run on one "
            "machine as one user",
            path=share,
            frame=frame,
        ) from None


def run(requests: TextIO) -> None:
    """Serves requests on standard output, which from here on belongs to the answers alone."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints, natively or not
    signal.signal(signal.SIGTERM, _end)
    Worker(_answering(answers)).serve(requests)


def listen(path: Path) -> None:
    """Serves whoever connects to a socket, until one of them asks to quit or the socket's file is gone."""
    signal.signal(signal.SIGTERM, _end)
    evaluator = Evaluator()
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        path.unlink(missing_ok=True)
        try:
            server.bind(str(path))
        except OSError as error:
            raise ParameterError(
                f"the socket {path} cannot be made ({error}); choose a shorter or another path"
            ) from None
        server.listen()
        server.settimeout(LOOK_SECONDS)

        def serve(connection: socket.socket) -> None:
            lines = connection.makefile("r", encoding="utf-8")
            answers = connection.makefile("w", encoding="utf-8")
            worker = Worker(_answering(answers), evaluator)
            worker.serve(_until_reset(lines))
            if worker.quitting:
                path.unlink(missing_ok=True)
                ended.set()
            for file in (lines, answers, connection):
                with contextlib.suppress(OSError):  # what was left to say to an asker that is gone
                    file.close()

        while path.exists() and not ended.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = server.accept()
                connection.setblocking(True)
                threading.Thread(target=serve, args=(connection,), name="fewstroke-asker", daemon=True).start()


def _until_reset(lines: TextIO) -> Iterable[str]:
    """The lines of an asker, also of one that is killed."""
    with contextlib.suppress(OSError):
        yield from lines


LOOK_SECONDS = 0.5
"""How often a worker looks whether its socket is still there: a session's folder is deleted when the session ends."""


def _answering(answers: TextIO) -> Callable[[dict[str, Any]], None]:
    lock = threading.Lock()

    def answer(event: dict[str, Any]) -> None:
        line = json.dumps(event) + "\n"
        # Where the host is gone, requests are about to end, too; a training must not lose its last steps over this.
        with lock, contextlib.suppress(OSError, ValueError):
            answers.write(line)
            answers.flush()

    return answer


def _end(number: int, frame: Any) -> None:
    """SIGTERM: at once, but with nothing half-written left behind."""
    discard_unfinished()
    os._exit(128 + number)
