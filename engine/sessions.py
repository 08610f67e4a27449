"""ONNX Runtime: which hardware runs a model (one function decides), and sessions that are made once and shared."""

import os
import threading
from collections import OrderedDict
from enum import StrEnum
from pathlib import Path

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
    """An NVIDIA card (needs the package onnxruntime-gpu)."""
    TENSORRT = "tensorrt"
    """An NVIDIA card through TensorRT: fastest, but it builds an engine for minutes first, so never chosen by AUTO."""
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
    # to find the fastest. Not tried: there was no card.
    "CUDAExecutionProvider": {"cudnn_conv_algo_search": "HEURISTIC"},
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
        raise ParameterError(f"the device '{device}' is not available to ONNX Runtime here; there is {here}")
    else:
        wanted = [device]
    names = [_PROVIDERS[d] for d in wanted]
    return names + [name for name in ["CPUExecutionProvider"] if name not in names]


def for_cuda(model: bytes) -> bytes:
    """The same model, as ONNX Runtime's CUDA runs it wholly on the card.

    It knows `GridSample` for pictures that lie plane by plane only by its own name, com.microsoft.GridSample, which is
    the same function (https://github.com/microsoft/onnxruntime/issues/19626). By its common name, which other programs
    need, the exemplar would be looked up on the processor, and travel there and back.

    Raises ParameterError where the package onnx is missing.
    """
    try:
        import onnx
    except ImportError:
        raise ParameterError(
            "painting on CUDA needs the package onnx; run `pip install onnx`, or use --device cpu"
        ) from None
    proto = onnx.load_from_string(model)
    for node in proto.graph.node:
        if node.op_type == "GridSample":
            node.domain = "com.microsoft"
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return proto.SerializeToString()


class Session:
    """A loaded model. Thread-safe: ONNX Runtime's `run` may be called from many threads at once."""

    def __init__(self, model: bytes, source: str, device: Device | str, threads: int):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what goes wrong is raised; nothing is printed behind the host's back
        # Frames run side by side, in threads and in processes; a thread that spins takes the core from another frame.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Tiles come in many sizes, and a plan kept for each would hold on to memory. The arena holds on to that of the
        # largest; without it, a frame takes a third longer, as the system clears every page anew.
        options.enable_mem_pattern = False
        try:
            providers = [(name, _OPTIONS.get(name, {})) for name in choose_providers(device)]
            if "CUDAExecutionProvider" in dict(providers):
                model = for_cuda(model)
            self.runtime = ort.InferenceSession(model, options, providers=providers)
        except ParameterError:
            raise
        except Exception as error:  # ONNX Runtime raises a dozen kinds for a file that is no model
            reason = str(error).splitlines()[0][:120]
            raise ModelError(
                f"{source} is not a model ({reason}); give a file that `fewstroke train` made", path=source
            ) from None
        self.info = ModelInfo.from_metadata(self.runtime.get_modelmeta().custom_metadata_map, source)


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
