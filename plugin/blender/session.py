"""What goes on between Blender and the worker: frames that are being made, trainings that run, and what went wrong.

One worker serves the whole Blender session, from the first frame that is needed on. Nothing here is saved in the file.
"""

import contextlib
import json
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import bpy

from .. import client
from . import environment, painting
from .tree import (
    Job,
    NodeProblem,
    Path,
    compositor,
    is_shown,
    job,
    kind_of,
    model_path,
    show_painting,
    sources,
    walk,
)

# ---- the worker

_worker: client.AnyWorker | None = None


def worker() -> client.AnyWorker:
    """The session's worker, started where there is none. Raises WorkerError where it cannot be."""
    global _worker
    if _worker is None or not _worker.alive:
        if _worker is not None:
            _worker.close()
        command, variables = [environment.python(), *environment.COMMAND], environment.variables()
        _worker = _shared(command, variables) or client.Worker(command, variables)
    return _worker


def _shared(command: list[str], variables: Mapping[str, str]) -> client.SharedWorker | None:
    """The worker that a farm's session keeps for all its Blenders, started by the first; None where there is none."""
    path = os.environ.get(environment.SHARED)
    if not path:
        return None
    shared = None
    try:
        shared = client.SharedWorker(FilePath(path), command, variables)
        facts = shared.ask("hello").wait(client.START_SECONDS)
        wanted = {"protocol": client.PROTOCOL, "ocio": variables.get("OCIO", os.environ.get("OCIO", ""))}
        others = [
            f"{name} '{facts.get(name)}', not '{value}'" for name, value in wanted.items() if facts.get(name) != value
        ]
        if not others:
            return shared
        reason = f"the worker at {path} has the {others[0]}"
    except (client.WorkerError, TimeoutError) as problem:
        reason = str(problem)
    if shared is not None:
        shared.close()
    print(f"Fewstroke: {reason}; this Blender starts a worker of its own", file=sys.stderr, flush=True)
    return None


def close() -> None:
    """Ends the worker, or hangs up where it is shared; a training is kept."""
    global _worker
    if _worker is not None:
        _worker.close()
    _worker = None
    forget()


def forget() -> None:
    """Another file is opened: trainings end, and are kept; nothing that was is of use any more."""
    for training in _trainings.values():
        training.request.cancel()
    _trainings.clear()
    _nodes.clear()


# ---- frames

LOOK_SECONDS = 1.0
"""How often the worker is asked whether a frame that is shown is right still: it alone knows all that went into it, the
frames before and after in footage and matte, too. It takes a few hundredths of a second of its time."""


@dataclass
class NodeState:
    """What is known of one node's frame.

    problem  why it has none, as a sentence, or ""
    making   the number of the frame that is being made, or None
    """

    problem: str = ""
    making: int | None = None
    asked: tuple[Any, ...] = ()
    asked_at: float = 0.0
    request: client.Request | None = None
    job: Job | None = None
    shown: dict[str, int] = field(default_factory=dict)  # file -> its time stamp when Blender was told to read it


_nodes: defaultdict[str, NodeState] = defaultdict(NodeState)


def state_of(tree: Any) -> NodeState:
    return _nodes[tree.name_full]


def update(scene: Any) -> bool:
    """Asks for the frames that a scene's nodes need now, and shows those that have come; whether anything changed.

    For the window, a few times a second: so it does not matter what made a frame necessary, a new frame number, a link,
    a setting, a model that has learnt more.
    """
    before = [(state.problem, state.making) for state in _nodes.values()]
    arrived = False
    for node, path in walk(compositor(scene)):
        state = state_of(node.node_tree)
        try:
            wanted = _ask(state, node, path, scene.frame_current)
        except (NodeProblem, client.WorkerError) as problem:
            state.problem, state.making, state.asked = str(problem), None, ()  # looked at again next time
            continue
        try:
            arrived |= _collect(state, node.node_tree)
        except NodeProblem as problem:
            state.problem = str(problem)
        except client.WorkerError as problem:
            state.problem = str(problem)
            if problem.kind == "WorkerDied":
                state.asked_at = math.inf  # it may die every time: no other is started until something else is wanted
        if kind_of(node) == "STYLIZE":
            show_painting(node.node_tree, wanted is not None and os.path.exists(wanted.place))
    return arrived or before != [(state.problem, state.making) for state in _nodes.values()]


def _ask(state: NodeState, node: Any, path: Path, scene_frame: int) -> Job | None:
    """Asks for the frame that a node needs now, unless that has been done; the frame, or None where it needs none."""
    wanted = job(node, path, scene_frame) if is_shown(node) else None
    if wanted is not None and "model" in wanted.fields and not os.path.exists(wanted.fields["model"]):
        if node.node_tree.fewstroke.model:
            raise NodeProblem(f"the model {wanted.fields['model']} is not there; choose it again, or train")
        wanted = None  # nothing has been learnt yet
    if wanted is None:
        state.problem, state.making, state.asked, state.request = "", None, (), None
        return None
    key, now = (json.dumps(wanted.fields), _time_stamp(wanted.fields.get("model", ""))), time.monotonic()
    again = key == state.asked
    if again and now - state.asked_at < LOOK_SECONDS:
        return wanted
    if not again or state.request is not None:
        state.making = wanted.fields["frame"]
    if again and state.request is not None:
        return wanted
    asker = worker()
    if state.request is not None:
        state.request.cancel()
    state.asked, state.asked_at, state.job = key, now, wanted
    state.request = asker.ask("frame", **wanted.fields)
    return wanted


def _time_stamp(path: str) -> int:
    """0 where there is no such file."""
    with contextlib.suppress(OSError):
        return os.stat(path).st_mtime_ns
    return 0


def _collect(state: NodeState, tree: Any) -> bool:
    """Shows a frame that has come. Raises WorkerError where it could not be made."""
    request, wanted = state.request, state.job
    if request is None or wanted is None or not request.ended:
        return False
    state.request, state.making = None, None
    try:
        done = request.wait()
    except client.RequestCancelled:
        return False
    state.problem = ""
    stamp = _time_stamp(wanted.place)
    if done["made"] or state.shown.get(wanted.place, stamp) != stamp:
        _show(tree, done["space"])
    state.shown[wanted.place] = stamp
    return True


def _show(tree: Any, space: str) -> None:
    """Has Blender read a frame again that it has seen before, or seen missing."""
    result = tree.nodes["Result"]
    _tag_space(result.image, space)
    result.image.reload()
    result.image.update_tag()
    if bpy.app.version < (5, 2):
        # Older compositors look only at changes of the tree.
        result.mute = not result.mute
        result.mute = not result.mute


def _tag_space(image: Any, space: str) -> None:
    """Tells Blender the colour space of the frames. One that it does not know (a model's, from elsewhere) raises."""
    if image.colorspace_settings.name == space:
        return
    try:
        image.colorspace_settings.name = space
    except TypeError:
        raise NodeProblem(
            f"the model works in '{space}', a colour space that Blender does not know; train it again in Blender"
        ) from None


def render(scene: Any) -> None:
    """Has all frames ready that this frame of a render needs. Raises NodeProblem or WorkerError where one cannot be."""
    waiting: list[tuple[Any, Job, client.Request]] = []
    for node, path in walk(compositor(scene)):
        if not is_shown(node):
            continue
        try:
            wanted = job(node, path, scene.frame_current)
            if wanted is not None:
                waiting.append((node.node_tree, wanted, worker().ask("frame", **wanted.fields)))
        except (NodeProblem, client.WorkerError) as problem:
            state_of(node.node_tree).problem = str(problem)
            raise
    for tree, wanted, request in waiting:
        try:
            done = request.wait()
            _tag_space(tree.nodes["Result"].image, done["space"])
            state_of(tree).problem = ""
        except (client.WorkerError, NodeProblem) as problem:
            state_of(tree).problem = str(problem)
            # What lies there now is of another model or other footage: it must not pass for this frame.
            with contextlib.suppress(OSError):
                os.unlink(wanted.place)
            raise


# ---- training


@dataclass
class Training:
    """A training that runs, or the last one of a node.

    pictures  the paintings that it learns from, as `painting.signature` tells them
    seen      the paintings as they were at the last look
    loaded    whether they have been read once; from then on, what begins again goes on from what was learnt
    losses    of the steps told, oldest first
    step      steps done
    left      seconds until it ends, or None
    line      how it goes, for people
    problem   why it failed, or ""
    stopped   for good: not begun again when the paintings change
    """

    request: client.Request
    fields: dict[str, Any]
    pictures: Any
    seen: Any = None
    loaded: bool = False
    losses: list[float] = field(default_factory=list)
    step: int = 0
    left: float | None = None
    line: str = "reading the paintings"
    problem: str = ""
    started: float = field(default_factory=time.monotonic)
    stopped: bool = False

    def spent(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started


_trainings: dict[str, Training] = {}


def training_of(tree: Any) -> Training | None:
    return _trainings.get(tree.name_full)


def is_training(tree: Any) -> bool:
    training = training_of(tree)
    return training is not None and not training.request.ended


def train(node: Any, path: Path, *, seconds: float | None, steps: int | None, resume: bool) -> Training:
    """Starts to train a Stylize node. Raises NodeProblem or WorkerError where it cannot be."""
    tree = node.node_tree
    settings = tree.fewstroke
    out = model_path(tree)
    found = sources(node, path)
    keyframes = painting.keyframes(tree)
    numbers = [keyframe["frame"] for keyframe in keyframes]
    if found.guide is not None and numbers and found.guide.fewstroke.guide.keyframe not in numbers:
        found.guide.fewstroke.guide.keyframe = min(numbers)  # points must be strewn over a painted frame
        found = sources(node, path)
    fields = {
        "shot": found.shot,
        "keyframes": keyframes,
        "out": out,
        "resume": resume,
        "seconds": seconds,
        "steps": steps,
        "preset": settings.preset,
        "seed": settings.seed,
    }
    training = Training(worker().ask("train", **fields), fields, painting.signature(tree))
    _trainings[tree.name_full] = training
    return training


def stop(tree: Any) -> None:
    """Ends a node's training; what was learnt is kept."""
    if training := training_of(tree):
        training.stopped = True
        training.line = "stopping"
        training.request.cancel()


def listen(tree: Any, training: Training) -> bool:
    """Takes in what a training has said since; whether it said anything."""
    news = training.request.news()
    for event in news:
        if event["event"] == "loaded":
            training.loaded = True
            training.line = f"going on from step {event['step']}" if event["step"] else "learning"
        elif event["event"] == "step":
            training.step, training.left = event["step"], event["seconds_left"]
            training.losses.append(event["l1"])
            training.line = f"step {event['step']}, {event['steps_per_second']:.1f} a second, loss {event['l1']:.3f}"
    if training.request.ended and training.line != "":
        training.line = ""
        try:
            done = training.request.wait()
            training.step = done["step"]
            _tag_space(tree.nodes["Result"].image, done["space"])
        except client.RequestCancelled:
            pass
        except (client.WorkerError, NodeProblem) as problem:
            training.problem = str(problem)
            # A worker that has died may die every time.
            training.stopped |= isinstance(problem, client.WorkerError) and problem.kind == "WorkerDied"
        return True
    return bool(news)


def learn_from_new_pictures(tree: Any) -> None:
    """Has a training go on with the paintings as they are by now: one that runs, or that failed over what they were.

    Another program may take seconds to write a painting. So files are left alone until they have rested from one look
    to the next; and where half a file has been read all the same, which fails, the whole one is a change.
    """
    training = training_of(tree)
    if training is None or training.stopped:
        return
    runs = training.loaded and not training.request.ended
    if not runs and not training.problem:
        return
    before, training.seen = training.seen, painting.signature(tree)
    if training.seen == training.pictures or training.seen != before:
        return
    if training.problem:
        training.started = time.monotonic()  # it has all its time once more
    seconds = training.fields["seconds"]
    fields = {
        **training.fields,
        "keyframes": painting.keyframes(tree),
        "resume": training.loaded or training.fields["resume"],
        "seconds": None if seconds is None else max(1.0, seconds - training.spent()),
    }
    training.request.cancel()  # which keeps what it has learnt; trainings run one after another
    training.request = worker().ask("train", **fields)
    training.pictures, training.line, training.problem = training.seen, "reading the paintings", ""


def wait(tree: Any, training: Training) -> None:
    """Waits for a training's end, for scripts and background. Raises WorkerError where it fails."""
    said = time.monotonic()
    while not training.request.ended:
        time.sleep(0.05)
        listen(tree, training)
        if time.monotonic() - said > 5:
            print(f"Fewstroke: {training.line}", file=sys.stderr, flush=True)
            said = time.monotonic()
    listen(tree, training)
    if training.problem:
        raise client.WorkerError(training.problem, kind="TrainingError")
