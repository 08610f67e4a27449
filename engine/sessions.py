"""ONNX Runtime: which hardware runs a model (one function decides), and sessions that are made once and shared."""

import contextlib
import ctypes
import importlib
import io
import math
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort

from .digest import digest
from .errors import ModelError, ParameterError
from .model import ModelInfo


class Device(StrEnum):
    """Where a model runs."""

    AUTO = "auto"
    """The first of CUDA, DirectML and CoreML that this machine has, else the CPU."""
    CPU = "cpu"
    """The processor; always there."""
    CUDA = "cuda"
    """An NVIDIA card (needs the packages of the extra "cuda")."""
    TENSORRT = "tensorrt"
    """An NVIDIA card through TensorRT. It builds an engine for minutes first, so AUTO never chooses it. Not tried."""
    DIRECTML = "directml"
    """Any card on Windows (needs the package onnxruntime-directml)."""
    COREML = "coreml"
    """Apple's chips."""


_PROVIDERS = {
    Device.CPU: "CPUExecutionProvider",
    Device.CUDA: "CUDAExecutionProvider",
    Device.TENSORRT: "TensorrtExecutionProvider",
    Device.DIRECTML: "DmlExecutionProvider",
    Device.COREML: "CoreMLExecutionProvider",
}

_OPTIONS = {
    # Tiles and masked regions come in many sizes, and for every new one cuDNN would by default run all its algorithms
    # to find the fastest. TF32, whose ten bits would tell tiles apart, is no faster for networks as thin as `fast`.
    "CUDAExecutionProvider": {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"},
}
"""What a provider is told, where its defaults do not fit, by its name."""


def choose_providers(device: Device | str = Device.AUTO) -> list[str]:
    """ONNX Runtime's provider names, most wanted first, the CPU always last.

    Raises ParameterError where the device is unknown or this machine does not have it.
    """
    available = ort.get_available_providers()
    try:
        device = Device(device)
    except ValueError:
        raise ParameterError(f"there is no device '{device}'; choose one of {', '.join(Device)}") from None
    if device is Device.AUTO:
        wanted = [d for d in (Device.CUDA, Device.DIRECTML, Device.COREML) if _PROVIDERS[d] in available][:1]
    elif _PROVIDERS[device] not in available:
        here = ", ".join(d for d, provider in _PROVIDERS.items() if provider in available)
        raise ParameterError(
            f"the device '{device}' is not available to ONNX Runtime here; there is {here}{_remedy(device)}"
        )
    else:
        wanted = [device]
    names = [_PROVIDERS[d] for d in wanted]
    return names + [name for name in ["CPUExecutionProvider"] if name not in names]


def _remedy(device: Device) -> str:
    """pip installs onnxruntime and onnxruntime-gpu into one folder, and whichever comes last is there."""
    if device not in (Device.CUDA, Device.TENSORRT):
        return ""
    try:
        metadata.version("onnxruntime-gpu")
    except metadata.PackageNotFoundError:
        return "; run `pip install 'onnxruntime-gpu[cuda,cudnn]'`"
    return "; run `pip install --force-reinstall --no-deps onnxruntime-gpu`, over which onnxruntime was installed"


@cache
def _load_cuda() -> None:
    """Loads CUDA's libraries from pip's packages, where they are; the system's are found without. Says nothing: whether
    it did any good shows when a session is made.

    Raises ParameterError where packages are missing that only cards need.
    """
    try:
        for package in ("onnx", "cuda.bindings"):
            importlib.import_module(package)
    except ImportError:
        raise ParameterError(
            "painting on an NVIDIA card needs the packages onnx and cuda-bindings; run `pip install onnx "
            "cuda-bindings`, or use --device cpu"
        ) from None
    ort.set_default_logger_severity(4)  # libraries that are missing would be told of in many lines
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()


def _laid_out(model: bytes) -> bytes:
    """The same model for pictures as they lie in memory: "picture" (N, H, W, 3) and "guide" (N, H, W, C), where it has
    one, in place of "image" (N, 3 + C, H, W); and "painted" as (N, H, W, 3).

    A card has laid out a frame anew in no time. The processor needs more for that than the card for all the rest.
    """
    import onnx

    proto = onnx.load_from_string(model)
    graph = proto.graph
    guides = graph.input[0].type.tensor_type.shape.dim[1].dim_value - 3
    shown = [("picture", 3), ("guide", guides)][: 1 + (guides > 0)]

    def picture(name: str, channels: int) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", "height", "width", channels])

    def add(position: int, operation: str, inputs: list[str], output: str, **attributes: Any) -> None:
        graph.node.insert(position, onnx.helper.make_node(operation, inputs, [output], **attributes))

    for node in graph.node:
        node.output[:] = ["painted_planes" if name == "painted" else name for name in node.output]
    add(0, "Concat", [f"{name}_planes" for name, _ in shown], "image", axis=1)
    for name, _ in shown:
        add(0, "Transpose", [name], f"{name}_planes", perm=[0, 3, 1, 2])
    add(len(graph.node), "Transpose", ["painted_planes"], "painted", perm=[0, 2, 3, 1])
    del graph.input[:], graph.output[:]
    graph.input.extend(picture(*each) for each in shown)
    graph.output.append(picture("painted", 3))
    return proto.SerializeToString()


_NVIDIA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")

CARD_RUNS = 8
"""How many frames or tiles are on a card at once at most, so that its memory holds them however many threads ask. Four
make three quarters of the frames that eight do."""


class Session:
    """A loaded model. Thread-safe: `run` may be called from many threads at once.

    on_card  whether it runs on an NVIDIA card
    """

    def __init__(self, model: bytes, source: str, device: Device | str, threads: int):
        wanted, *others = choose_providers(device)
        self._start(model, source, wanted, threads)
        # Where a provider cannot be used after all, ONNX Runtime takes the processor.
        if self._runtime.get_providers()[0] != wanted:
            if device != Device.AUTO:
                raise ParameterError(
                    f"the device '{device}' cannot be used here: there is no card, or its driver or libraries (for "
                    "CUDA `pip install 'onnxruntime-gpu[cuda,cudnn]'`) are missing; see to that, or use --device cpu"
                )
            self._start(model, source, others[0], threads)
        self.info = ModelInfo.from_metadata(self._runtime.get_modelmeta().custom_metadata_map, source)
        self._rooms = _Rooms(_page_locked if self.on_card else _empty)
        self._turns = threading.Semaphore(CARD_RUNS) if self.on_card else contextlib.nullcontext()

    def _start(self, model: bytes, source: str, provider: str, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what goes wrong is raised; nothing is printed behind the host's back
        # Frames run side by side, in threads and in processes; a thread that spins takes the core from another frame.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Tiles come in many sizes, and a plan kept for each would hold on to memory. The arena holds on to that of the
        # largest; without it, a frame takes a third longer, as the system clears every page anew.
        options.enable_mem_pattern = False
        self.on_card = provider in _NVIDIA
        if self.on_card:
            _load_cuda()
        try:
            self._runtime = ort.InferenceSession(
                _laid_out(model) if self.on_card else model,
                options,
                providers=[(provider, _OPTIONS.get(provider, {}))],
                enable_fallback=0,  # which would print, and go on with the processor in the middle of a shot
            )
        except Exception as error:  # ONNX Runtime raises a dozen kinds for a file that is no model
            if provider != "CPUExecutionProvider":  # is it the model or the provider?
                self._start(model, source, "CPUExecutionProvider", threads)
                return
            reason = str(error).splitlines()[0][:120]
            raise ModelError(
                f"{source} is not a model ({reason}); give a file that `fewstroke train` made", path=source
            ) from None

    def run(
        self,
        pictures: Sequence[np.ndarray],
        guides: Sequence[np.ndarray] | None = None,
        options: ort.RunOptions | None = None,
    ) -> Sequence[np.ndarray]:
        """Scene-linear RGB (H, W, 3) and guides (H, W, C), as many and all of one size, to scene-linear RGB (H, W, 3).
        All float32.

        Raises ModelError where there is not enough memory.
        """
        count, (height, width) = len(pictures), pictures[0].shape[:2]
        shown = {"picture": pictures} if guides is None else {"picture": pictures, "guide": guides}
        with self._turns, contextlib.ExitStack() as stack:

            def room(name: str, *shape: int) -> np.ndarray:
                return stack.enter_context(self._rooms.take(name, *shape))

            if self.on_card:
                feeds = {name: np.stack(each, out=room(name, count, *each[0].shape)) for name, each in shown.items()}
            else:
                channels = sum(each[0].shape[2] for each in shown.values())
                feeds = {"image": room("image", count, channels, height, width)}
                for layers, picture, *guide in zip(feeds["image"], *shown.values(), strict=True):
                    # Several times as fast as NumPy's transposed copies.
                    cv2.split(picture, list(layers[:3]))
                    if guide:
                        cv2.split(guide[0], list(layers[3:]))
            try:
                painted: Any = self._runtime.run(None, feeds, options)[0]
            except Exception as error:  # ONNX Runtime has no kind of its own for it
                raise ModelError(
                    f"the model '{self.info.name}' could not be run on {width}x{height} pixels, most likely for want "
                    f"of memory ({str(error).splitlines()[0][:120]}); a smaller tile takes less (--tile 512), and "
                    "--device cpu none of a card's"
                ) from None
        return list(painted) if self.on_card else [cv2.merge(list(planes)) for planes in painted]


class _Rooms:
    """Arrays that are kept for the next piece or frame: on some machines, the system takes longer to give that much
    memory than it takes to fill it."""

    def __init__(self, find: Callable[[int], np.ndarray]):
        """find  makes a float32 array of so many numbers"""
        self._find = find
        self._free: dict[str, list[np.ndarray]] = {}

    @contextlib.contextmanager
    def take(self, name: str, *shape: int) -> Iterator[np.ndarray]:
        """An array for as long as it is needed. Of one name are those that tend to be as large as each other."""
        size, free = math.prod(shape), self._free.setdefault(name, [])
        try:
            kept = free.pop()  # in one go, whatever other threads do
        except IndexError:
            kept = np.empty(0, np.float32)
        if kept.size < size:
            kept = self._find(1 << (size - 1).bit_length())  # so that growing pieces do not find it anew every time
        try:
            yield kept[:size].reshape(shape)
        finally:
            free.append(kept)


def _empty(size: int) -> np.ndarray:
    return np.empty(size, np.float32)


def _page_locked(size: int) -> np.ndarray:
    """Memory that the card copies from by itself: eight times as fast as from any other, on one of H200's class."""
    runtime = importlib.import_module("cuda.bindings.runtime")  # which not every machine has
    error, address = runtime.cudaHostAlloc(4 * size, runtime.cudaHostAllocDefault)
    if error != runtime.cudaError_t.cudaSuccess:
        return _empty(size)
    memory = (ctypes.c_float * size).from_address(address)
    weakref.finalize(memory, runtime.cudaFreeHost, address).atexit = False
    return np.ctypeslib.as_array(memory)


class _Cache:
    """Sessions by content of the model, device and threads; the least recently used beyond `CAPACITY` go."""

    CAPACITY = 8

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._sessions: OrderedDict[tuple[str, str, int], Session] = OrderedDict()
        self._loading: dict[tuple[str, str, int], threading.Lock] = {}

    def get(self, model: bytes, source: str, device: Device | str, threads: int) -> Session:
        key = (digest(model), str(device), threads)
        with self._guard:
            if key in self._sessions:
                self._sessions.move_to_end(key)
                return self._sessions[key]
            loading = self._loading.setdefault(key, threading.Lock())
        # Loaded outside the guard, so that one slow model does not hold up the others; once, however many ask.
        with loading:
            with self._guard:
                if key in self._sessions:
                    return self._sessions[key]
            session = Session(model, source, device, threads)
            with self._guard:
                self._sessions[key] = session
                self._loading.pop(key, None)
                while len(self._sessions) > self.CAPACITY:
                    self._sessions.popitem(last=False)
            return session


_cache = _Cache()


def read_model(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a model file. Raises ModelError where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ModelError(
            f"the model {os.fspath(path)} cannot be read ({error.strerror}); train one with `fewstroke train`",
            path=os.fspath(path),
        ) from None


def open_session(
    model: str | os.PathLike[str] | bytes, *, device: Device | str = Device.AUTO, threads: int = 0
) -> Session:
    """The session of a model (a path, or the bytes of the file), shared with whoever asked for the same before.

    threads  that one run may use; 0 for all cores

    Raises ModelError where it is no Fewstroke model, ParameterError where the device is not there.
    """
    if isinstance(model, bytes):
        return _cache.get(model, "the model", device, threads)
    return _cache.get(read_model(model), os.fspath(model), device, threads)


def read_info(model: str | os.PathLike[str] | bytes) -> ModelInfo:
    """The facts of a model. Raises ModelError where it is no Fewstroke model."""
    return open_session(model, device=Device.CPU, threads=1).info
