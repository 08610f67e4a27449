"""torch to ONNX: one file that needs no other, and whose arithmetic is checked against torch before it is handed out.

The graph takes scene-linear pixels (N, C, H, W) of any size and gives scene-linear pixels (N, 3, H, W): the working
curve, the padding, the network and the way back all stand inside, so that a host that knows nothing but ONNX gets the
right picture. Batch normalisation is folded into the convolutions; nothing looks at the whole image.

The network is read through torch.fx and written with a dozen ONNX operators. torch's own exporters were tried: the old
one is deprecated, the new one takes longer than a frame of live preview may and brings two more packages.
"""

import copy
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from numpy.polynomial import Chebyshev, Polynomial
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .color import ENCODED_LIMIT, GAMMA, decode, encode
from .errors import ModelError
from .exemplar import Exemplar
from .model import ModelInfo

OPSET = 17
"""ONNX operator set: old enough for the runtimes in Flame 2025, Houdini 20.5 and OpenCV."""

EDGE = 4
"""The frame's edge pixels are repeated this far, before the first convolution, in place of every convolution's padding
in training. A multiple of every `SIZE_MULTIPLE`.

What `fast` painted of its own in the outermost row of pixels, after 240 steps on `bust` and `walker`, was as far from
the right painting as with every convolution's padding (31.1 of 255 for 30.7, and 29.0 for 29.0), with 8 no nearer
(30.2 and 29.3), and with none it was a line (46 and 45)."""

PARITY = 2e-4
"""How far ONNX Runtime and torch may differ in the working encoding, 1/20 of an 8-bit step."""
PARITY_PART = 0.98
"""At how many of the pixels. A network that has learnt for minutes tells apart sharply what to copy, and at single
ones, one of some thousand, the last digits of a looked-up place, which the two round differently, grow: to 6e-4 after
1900 steps of a rendered shot, and after 7700 a place that is moved by its last digit changes one by 2e-3. All but these
differ by 3e-5. A row or a column of the picture that is compared is more than the rest."""


class _Graph:
    """An ONNX graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._divisors: dict[str, Fraction] = {}
        self._joined: dict[str, dict[tuple[int, int], str]] = {}
        self._padded: dict[str, str] = {}
        self._cropped: dict[str, str] = {}

    def add(self, operation: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Appends a node; the name of its output, or a tuple of names."""
        names = [f"{operation.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operation, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def frame(self, multiple: int) -> None:
        """Frames come as "image", and are padded to a multiple of this."""
        shape = self.add("Shape", "image", start=2, end=4)
        rest = self.add("Mod", self.add("Neg", shape), self.constant([multiple] * 2, np.int64))  # 0..multiple-1
        after = self.add("Add", rest, self.constant([EDGE, EDGE], np.int64))
        before = self.constant([0, 0, EDGE, EDGE, 0, 0], np.int64)
        self._pads = self.add("Concat", before, after, axis=0)
        self._start = self.constant([EDGE, EDGE], np.int64)
        self._end = self.add("Add", shape, self._start)

    def is_padded(self, picture: str) -> bool:
        return picture in self._divisors

    def pad(self, picture: str) -> str:
        """With the edge pixels repeated by EDGE, and further to the right and below to the next multiple."""
        if not self.is_padded(picture) and picture not in self._padded:
            self._padded[picture] = self.add("Pad", picture, self._pads, mode="edge")
            self._divisors[self._padded[picture]] = Fraction(1)
        return self._padded.get(picture, picture)

    def crop(self, picture: str) -> str:
        """The inverse."""
        if self.is_padded(picture) and picture not in self._cropped:
            axes = self.constant([2, 3], np.int64)
            self._cropped[picture] = self.add("Slice", picture, self._start, self._end, axes)
        return self._cropped.get(picture, picture)

    def divide(self, picture: str, source: str, by: int | Fraction = 1) -> str:
        """Says how many times smaller than its padded source a picture is, in height and width. The picture, again.

        ONNX cannot infer it from a frame of any size, and where ONNX Runtime does not know that two pictures are of one
        size, it does not add them within a convolution.
        """
        if self.is_padded(source):
            self._divisors[picture] = self._divisors[source] * by
        return picture

    def split(self, picture: str, counts: Sequence[int]) -> Sequence[str]:
        """So many channels each."""
        if len(counts) == 1:
            return [picture]
        return self.add("Split", picture, self.constant(counts, np.int64), outputs=len(counts), axis=1)

    def join(self, pictures: Sequence[str], counts: Sequence[int]) -> str:
        """The inverse. Who wants just one of the pictures again gets that from `channels`."""
        if len(pictures) == 1:
            return pictures[0]
        joined = self.add("Concat", *pictures, axis=1)
        bounds = pairwise(accumulate(counts, initial=0))
        self._joined[joined] = dict(zip(bounds, pictures, strict=True))
        return joined

    def channels(self, picture: str, start: int, stop: int) -> str:
        """Some channels. Copies of pictures take time that no layer makes good, and most of it on one thread."""
        if (part := self._joined.get(picture, {}).get((start, stop))) is not None:
            return part
        return self.add("Slice", picture, *(self.constant([each], np.int64) for each in (start, stop, 1)))

    def used(self, output: str) -> tuple[list[onnx.NodeProto], list[onnx.ValueInfoProto]]:
        """The nodes that an output needs, in order, and the sizes that are known of what they give."""
        wanted, nodes = {output}, []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                nodes.append(node)
        sizes = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None, f"height_{divisor}", f"width_{divisor}"])
            for name, divisor in self._divisors.items()
            if name in wanted
        ]
        return nodes[::-1], sizes


def export_model(generator: nn.Module, info: ModelInfo) -> bytes:
    """The `.onnx` file of a generator and its facts, as bytes; the same bytes for the same weights and facts.

    Raises ModelError where ONNX Runtime does not compute what torch does.
    """
    network = copy.deepcopy(generator).cpu().eval()
    for convolution in (module for module in network.modules() if isinstance(module, nn.Conv2d)):
        convolution.padding_mode = "zeros"
    graph = _Graph()
    channels = len(info.channels)
    graph.frame(info.size_multiple)
    threes = [3] * (channels // 3)
    rgb, *others = graph.split("image", threes)
    painted = _network(graph, network, graph.join([_encode(graph, rgb), *others], threes))
    _decode(graph, graph.crop(painted), output="painted")

    nodes, sizes = graph.used("painted")

    def picture(name: str, count: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, "height", "width"])

    model = helper.make_model(
        helper.make_graph(
            nodes,
            "fewstroke",
            [picture("image", channels)],
            [picture("painted", 3)],
            graph.constants,
            value_info=sizes,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="fewstroke",
        ir_version=8,
    )
    helper.set_model_props(model, info.to_metadata())
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    _check_parity(data, network, channels, info.size_multiple)
    return data


# The working curve (`color.encode`, `color.decode`) in products, sums and square roots alone. ONNX Runtime's power of a
# scalar took 20 ms of a 960x540 frame each way, and its faster exponential and logarithm have other last bits with
# other numbers of threads. Each piece is a polynomial in a root of its argument, of the least degree that keeps it
# within 1e-5 of the working encoding up to white, a four-hundredth of an 8-bit step, and within 2e-4 above.
LINEAR_KNEE, ENCODED_KNEE = 0.0031308, 0.04045
"""Where the sRGB curve (IEC 61966-2-1) leaves its straight part."""
BRIGHTEST = 65504.0
"""The largest half float. What is brighter is shown to the network as this."""


def _polynomial(
    graph: _Graph, x: str, function: Callable[[np.ndarray], np.ndarray], degree: int, low: float, high: float
) -> str:
    """`function`, interpolated between low and high at Chebyshev's nodes, in Horner's order."""
    fitted = Chebyshev.interpolate(function, degree, [low, high]).convert(kind=Polynomial).coef
    result = graph.add("Mul", x, graph.constant(fitted[-1]))
    for coefficient in fitted[-2:0:-1]:
        result = graph.add("Mul", graph.add("Add", result, graph.constant(coefficient)), x)
    return graph.add("Add", result, graph.constant(fitted[0]))


def _root(graph: _Graph, x: str, times: int) -> str:
    """The square root of the square root ..."""
    for _ in range(times):
        x = graph.add("Sqrt", x)
    return x


def _straight(graph: _Graph, x: str, knee: float) -> tuple[str, str]:
    """The straight part of the curve and its sign, which a curve that starts at the knee is multiplied with, divided by
    the knee: x within -knee..knee. And the absolute value of x."""
    return graph.add("Clip", x, graph.constant(-knee), graph.constant(knee)), graph.add("Abs", x)


def _encode(graph: _Graph, linear: str) -> str:
    """`color.encode`."""
    sign, size = _straight(graph, linear, LINEAR_KNEE)
    size = graph.add("Clip", size, graph.constant(LINEAR_KNEE), graph.constant(BRIGHTEST))
    root = _root(graph, size, 3)
    one = graph.constant(1.0)
    low = _polynomial(
        graph,
        graph.add("Min", root, one),
        lambda r: (1.055 * r ** (8 / GAMMA) - 0.055) / LINEAR_KNEE,
        4,
        LINEAR_KNEE ** (1 / 8),
        1.0,
    )
    root = _root(graph, graph.add("Max", root, one), 2)
    # (r - 1) by itself, so that it is nothing at all up to white.
    slope = _polynomial(
        graph,
        root,
        lambda r: 8 * 1.055 * (r ** (4 / GAMMA) - 1) / (r - 1) / LINEAR_KNEE,
        2,
        1.0,
        BRIGHTEST ** (1 / 32),
    )
    high = graph.add("Mul", graph.add("Sub", root, one), slope)
    return graph.add("Mul", sign, graph.add("Add", low, high))


def _decode(graph: _Graph, encoded: str, output: str) -> None:
    """`color.decode`."""
    sign, size = _straight(graph, encoded, ENCODED_KNEE)
    low = graph.add("Clip", size, graph.constant(ENCODED_KNEE), graph.constant(1.0))
    low = graph.add("Add", low, graph.constant(0.055))  # to the power of 2.4, which is two and 1.6 quarters
    quarter = _polynomial(
        graph,
        _root(graph, low, 2),
        lambda r: r**1.6 / 1.055**GAMMA / ENCODED_KNEE,
        3,
        (ENCODED_KNEE + 0.055) ** 0.25,
        1.055**0.25,
    )
    low = graph.add("Mul", graph.add("Mul", quarter, low), low)
    one, zero, most = graph.constant(1.0), graph.constant(0.0), graph.constant(ENCODED_LIMIT - 1)
    above = graph.add("Clip", graph.add("Sub", size, one), zero, most)
    slope = _polynomial(graph, above, lambda y: ((y / (8 * 1.055) + 1) ** GAMMA - 1) / y, 3, 0.0, ENCODED_LIMIT - 1)
    high = graph.add("Add", graph.add("Mul", above, slope), one)
    for _ in range(3):  # to the eighth
        high = graph.add("Mul", high, high)
    graph.nodes.append(helper.make_node("Mul", [sign, graph.add("Mul", low, high)], [output]))


class _Tracer(fx.Tracer):
    """Sees exemplars as one layer."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Exemplar) or super().is_leaf_module(m, module_qualified_name)


def _network(graph: _Graph, network: nn.Module, picture: str) -> str:
    """The operators of a generator, in the order in which it calls them; the name of its output.

    What takes pixels one by one gives the same with padding and without, and without is less. So a picture is padded
    where something first looks at a pixel's neighbours, and cropped after the last that does.
    """
    traced = _Tracer().trace(network)
    modules: dict[str, nn.Module] = dict(network.named_modules())
    names: dict[fx.Node, str] = {}
    looks = {node for node in traced.nodes if _looks_around(node, modules)}
    before: set[fx.Node] = set()
    for node in reversed(traced.nodes):
        if not (looks | before).isdisjoint(node.users):
            before.add(node)

    for node in traced.nodes:
        inputs = {source: names[source] for source in node.all_input_nodes}
        if node in looks or any(map(graph.is_padded, inputs.values())):
            fit = graph.pad if node in looks | before else graph.crop
            inputs = {source: fit(name) for source, name in inputs.items()}
        match node.op:
            case "placeholder":
                names[node] = picture
            case "output":
                return names[node.all_input_nodes[0]]
            case "call_module":
                names[node] = _layer(graph, modules, node, *inputs.values())
            case "call_function":
                names[node] = _function(graph, node, inputs)
            case _:
                raise NotImplementedError(f"{node.op} {node.target} has no ONNX form here yet")
    raise AssertionError("a traced module ends with its output")


def _looks_around(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether it takes more than pixels one by one."""
    return isinstance(modules.get(str(node.target)), nn.Conv2d) or node.target in (F.avg_pool2d, F.interpolate)


def _layer(graph: _Graph, modules: dict[str, nn.Module], node: fx.Node, source: str) -> str:
    module = modules[str(node.target)]
    match module:
        case nn.Conv2d():
            users = list(node.users)
            follower = modules.get(str(users[0].target)) if len(users) == 1 else None
            if isinstance(follower, nn.BatchNorm2d):
                module = fuse_conv_bn_eval(module, follower)
            assert isinstance(module.padding, tuple)
            weights = [graph.constant(module.weight.detach().numpy())]
            if module.bias is not None:
                weights.append(graph.constant(module.bias.detach().numpy()))
            vertical, horizontal = module.padding
            convolved = graph.add(
                "Conv", source, *weights,
                kernel_shape=list(module.kernel_size), strides=list(module.stride),
                pads=[vertical, horizontal, vertical, horizontal],
            )  # fmt: skip
            return graph.divide(convolved, source, module.stride[0])
        case nn.BatchNorm2d():
            return source  # folded into the convolution before it
        case nn.LeakyReLU():
            return graph.divide(graph.add("LeakyRelu", source, alpha=module.negative_slope), source)
        case nn.ReLU():
            return graph.divide(graph.add("Relu", source), source)
        case Exemplar():
            return _exemplar(graph, module, source)
    raise NotImplementedError(f"{type(module).__name__} has no ONNX form here yet")


def _exemplar(graph: _Graph, exemplar: Exemplar, stmap: str) -> str:
    """`Exemplar.forward`. The pictures are one for all frames of a batch, so the frames are laid below each other."""
    height, width = exemplar.pictures.shape[2:]
    # Where all of a painting counts, as it does without a mask, that need not be looked up.
    layers = [3, 3] if (exemplar.pictures[:, 6] == 1).all() else [3, 3, 1]
    pictures = graph.constant(exemplar.pictures[:, : sum(layers)].numpy(), np.float16)
    pictures = graph.add("Cast", pictures, to=TensorProto.FLOAT)
    place, sure = graph.split(stmap, [2, 1])  # (N, 2, H, W), (N, 1, H, W)
    scale, shift = graph.constant([[[2.0]], [[-2.0]]]), graph.constant([[[-1.0]], [[1.0]]])
    grid = graph.add("Add", graph.add("Mul", place, scale), shift)
    # The border by hand: where there are zeros around, ONNX Runtime knows a way that takes a quarter of the time.
    last = np.array([[[1 - 1 / width]], [[1 - 1 / height]]])  # the middle of the last pixel
    grid = graph.add("Max", graph.add("Min", grid, graph.constant(last)), graph.constant(-last))
    grid = graph.add("Transpose", grid, perm=[0, 2, 3, 1])  # (N, H, W, 2)
    shape = graph.add("Shape", grid)
    count, rows, columns = (
        graph.add("Slice", shape, *(graph.constant([bound], np.int64) for bound in (i, i + 1))) for i in range(3)
    )
    one, two, looked_up = (graph.constant([number], np.int64) for number in (1, 2, sum(layers)))
    below = graph.add("Concat", one, graph.add("Mul", count, rows), columns, two, axis=0)
    grid = graph.add("Reshape", grid, below)  # (1, N H, W, 2)
    found = graph.add("GridSample", pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=0)
    found = graph.add("Reshape", found, graph.add("Concat", looked_up, count, rows, columns, axis=0))
    found = graph.add("Transpose", found, perm=[1, 0, 2, 3])  # (N, 6 or 7, H, W)
    painting, plate, *counts = graph.split(found, layers)
    for each in counts:
        sure = graph.add("Mul", each, sure)
    return graph.join([painting, plate, sure], [3, 3, 1])


def _function(graph: _Graph, node: fx.Node, inputs: dict[fx.Node, str]) -> str:
    arguments: Any = [inputs[argument] if isinstance(argument, fx.Node) else argument for argument in node.args]
    source = next(iter(inputs.values()))

    def value(argument: Any) -> str:
        return argument if isinstance(argument, str) else graph.constant(argument)

    arithmetic = {operator.add: "Add", operator.mul: "Mul", operator.sub: "Sub", operator.truediv: "Div"}
    functions: dict[Any, str] = {torch.tanh: "Tanh", torch.sqrt: "Sqrt", torch.abs: "Abs", torch.clamp: "Clip"}
    by: int | Fraction = 1
    if operation := (arithmetic | functions).get(node.target):
        result = graph.add(operation, *map(value, arguments))
    elif node.target is operator.getitem:  # x[:, start:stop], channels
        channels = arguments[1][1]
        result = graph.channels(source, channels.start or 0, channels.stop)
    elif node.target is F.avg_pool2d:
        by = arguments[1]
        result = graph.add("AveragePool", source, kernel_shape=[by] * 2, strides=[by] * 2)
    elif node.target is torch.cat:
        result = graph.add("Concat", *(inputs[part] for part in arguments[0]), axis=arguments[1])
    elif node.target is F.interpolate:
        scale: Any = node.kwargs["scale_factor"]
        by = 1 / Fraction(scale)
        style: dict[str, Any] = (
            {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            if node.kwargs["mode"] == "nearest"
            else {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        )
        result = graph.add("Resize", source, "", graph.constant([1, 1, scale, scale]), **style)
    else:
        raise NotImplementedError(f"{node.target} has no ONNX form here yet")
    return graph.divide(result, source, by)


def _check_parity(data: bytes, network: nn.Module, channels: int, multiple: int) -> None:
    """Runs file and network on a small odd-sized HDR picture and compares."""
    rng = np.random.default_rng(0)
    linear = rng.normal(0.4, 0.6, (1, channels, 45, 38)).astype(np.float32)
    linear[:, :3, 5, 7] = 300.0
    encoded = linear.copy()
    encoded[:, :3] = encode(linear[:, :3])
    below, right = EDGE + -45 % multiple, EDGE + -38 % multiple
    with torch.no_grad():
        padded = F.pad(torch.from_numpy(encoded), (EDGE, right, EDGE, below), mode="replicate")
        ours = network(padded).numpy()[:, :, EDGE : EDGE + 45, EDGE : EDGE + 38]
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    theirs = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, {"image": linear})[0]
    errors = np.abs(encode(np.asarray(theirs)) - encode(decode(ours))).max(axis=1)
    error = np.quantile(errors, PARITY_PART)
    if not error < PARITY:
        raise ModelError(f"the exported model differs from the trained network by {error:.2g}; please report this")
