"""torch to ONNX: one file that needs no other, and whose arithmetic is checked against torch before it is handed out.

The graph takes scene-linear pixels (N, C, H, W) of any size and gives scene-linear pixels (N, 3, H, W): the working
curve, the padding, the network and the way back all stand inside, so that a host that knows nothing but ONNX gets the
right picture. Batch normalisation is folded into the convolutions; nothing looks at the whole image.

The network is read through torch.fx and written with a dozen ONNX operators. torch's own exporters were tried: the old
one is deprecated, the new one takes longer than a frame of live preview may and brings two more packages.
"""

import copy
import operator
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .color import ENCODED_LIMIT, GAMMA, decode, encode
from .errors import ModelError
from .exemplar import Exemplar
from .model import ModelInfo

OPSET = 17
"""ONNX operator set: old enough for the runtimes in Flame 2025, Houdini 20.5 and OpenCV."""

EDGE = 8
"""The frame's edge pixels are repeated this far, once, in place of every convolution's padding in training: far enough
for what lies beyond to matter little, and a twentieth of the cost. A multiple of every `SIZE_MULTIPLE`."""

PARITY = 2e-4
"""How far ONNX Runtime and torch may differ in the working encoding, 1/20 of an 8-bit step."""


class _Graph:
    """An ONNX graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operation: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Appends a node; the name of its output, or a tuple of names."""
        names = [f"{operation.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operation, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name


def export_model(generator: nn.Module, info: ModelInfo) -> bytes:
    """The `.onnx` file of a generator and its facts, as bytes; the same bytes for the same weights and facts.

    Raises ModelError where ONNX Runtime does not compute what torch does.
    """
    network = copy.deepcopy(generator).cpu().eval()
    for convolution in (module for module in network.modules() if isinstance(module, nn.Conv2d)):
        convolution.padding_mode = "zeros"
    graph = _Graph()
    channels = len(info.channels)
    encoded = _encode(graph, "image", channels)
    padded, size = _pad(graph, encoded, info.size_multiple)
    painted = _network(graph, network, padded)
    _decode(graph, _crop(graph, painted, size), output="painted")

    def picture(name: str, count: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, "height", "width"])

    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "fewstroke", [picture("image", channels)], [picture("painted", 3)], graph.constants
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


def _encode(graph: _Graph, image: str, channels: int) -> str:
    """`color.encode` on the first three channels; those of guide and ST map go on as they are."""
    if channels > 3:
        sizes = graph.constant([3, channels - 3], np.int64)
        rgb, guide = graph.add("Split", image, sizes, outputs=2, axis=1)
    else:
        rgb, guide = image, None
    one = graph.constant(1.0)
    size = graph.add("Abs", rgb)
    root = graph.add("Pow", size, graph.constant(1 / GAMMA))
    upper = graph.add("Max", root, one)
    for _ in range(3):
        upper = graph.add("Sqrt", upper)
    sum_ = graph.add("Add", graph.add("Min", root, one), graph.add("Mul", upper, graph.constant(8.0)))
    curve = graph.add("Sub", graph.add("Mul", sum_, graph.constant(1.055)), graph.constant(8 * 1.055 + 0.055))
    low = graph.add("Mul", size, graph.constant(12.92))
    curve = graph.add("Where", graph.add("Less", size, graph.constant(0.0031308)), low, curve)
    encoded = graph.add("Mul", graph.add("Sign", rgb), curve)
    return encoded if guide is None else graph.add("Concat", encoded, guide, axis=1)


def _decode(graph: _Graph, encoded: str, output: str) -> None:
    """`color.decode`."""
    one = graph.constant(1.0)
    size = graph.add("Min", graph.add("Abs", encoded), graph.constant(ENCODED_LIMIT))
    above = graph.add("Sub", graph.add("Max", size, one), one)
    above = graph.add("Add", graph.add("Mul", above, graph.constant(1 / (8 * 1.055))), one)
    for _ in range(3):
        above = graph.add("Mul", above, above)
    below = graph.add("Add", graph.add("Min", size, one), graph.constant(0.055))
    root = graph.add("Mul", graph.add("Mul", below, graph.constant(1 / 1.055)), above)
    curve = graph.add("Pow", root, graph.constant(GAMMA))
    low = graph.add("Mul", size, graph.constant(1 / 12.92))
    curve = graph.add("Where", graph.add("Less", size, graph.constant(0.04045)), low, curve)
    graph.nodes.append(helper.make_node("Mul", [graph.add("Sign", encoded), curve], [output]))


def _pad(graph: _Graph, picture: str, multiple: int) -> tuple[str, str]:
    """Repeats the edge pixels by EDGE, and further to the right and below to the next multiple.

    Returns the padded picture and the name of its former (height, width).
    """
    shape = graph.add("Shape", picture, start=2, end=4)
    grid = graph.constant([multiple, multiple], np.int64)
    rest = graph.add("Mod", graph.add("Neg", shape), grid)  # 0..multiple-1, sign of the divisor
    after = graph.add("Add", rest, graph.constant([EDGE, EDGE], np.int64))
    before = graph.constant([0, 0, EDGE, EDGE], np.int64)
    pads = graph.add("Concat", before, graph.constant([0, 0], np.int64), after, axis=0)
    return graph.add("Pad", picture, pads, mode="edge"), shape


def _crop(graph: _Graph, picture: str, size: str) -> str:
    start = graph.constant([EDGE, EDGE], np.int64)
    axes = graph.constant([2, 3], np.int64)
    return graph.add("Slice", picture, start, graph.add("Add", size, start), axes)


class _Tracer(fx.Tracer):
    """Sees exemplars as one layer."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Exemplar) or super().is_leaf_module(m, module_qualified_name)


def _network(graph: _Graph, network: nn.Module, picture: str) -> str:
    """The operators of a generator, in the order in which it calls them; the name of its output."""
    traced = _Tracer().trace(network)
    modules: dict[str, nn.Module] = dict(network.named_modules())
    names: dict[fx.Node, str] = {}

    def value(argument: Any) -> str:
        return names[argument] if isinstance(argument, fx.Node) else graph.constant(argument)

    for node in traced.nodes:
        match node.op:
            case "placeholder":
                names[node] = picture
            case "output":
                return names[node.args[0]]
            case "call_module":
                names[node] = _layer(graph, modules, node, names)
            case "call_function":
                names[node] = _function(graph, node, value, names)
            case _:
                raise NotImplementedError(f"{node.op} {node.target} has no ONNX form here yet")
    raise AssertionError("a traced module ends with its output")


def _layer(graph: _Graph, modules: dict[str, nn.Module], node: fx.Node, names: dict[fx.Node, str]) -> str:
    module, source = modules[str(node.target)], node.args[0]
    assert isinstance(source, fx.Node)
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
            return graph.add(
                "Conv", names[source], *weights,
                kernel_shape=list(module.kernel_size), strides=list(module.stride),
                pads=[vertical, horizontal, vertical, horizontal],
            )  # fmt: skip
        case nn.BatchNorm2d():
            return names[source]  # folded into the convolution before it
        case nn.LeakyReLU():
            return graph.add("LeakyRelu", names[source], alpha=module.negative_slope)
        case nn.ReLU():
            return graph.add("Relu", names[source])
        case Exemplar():
            return _exemplar(graph, module, names[source])
    raise NotImplementedError(f"{type(module).__name__} has no ONNX form here yet")


def _exemplar(graph: _Graph, exemplar: Exemplar, stmap: str) -> str:
    """`Exemplar.forward`. The pictures are one for all frames of a batch, so the frames are laid below each other."""
    pictures = graph.add("Cast", graph.constant(exemplar.pictures.numpy(), np.float16), to=TensorProto.FLOAT)
    place, sure = graph.add("Split", stmap, graph.constant([2, 1], np.int64), outputs=2, axis=1)  # (N, 2, H, W)
    scale, shift = graph.constant([[[2.0]], [[-2.0]]]), graph.constant([[[-1.0]], [[1.0]]])
    grid = graph.add("Add", graph.add("Mul", place, scale), shift)
    grid = graph.add("Transpose", grid, perm=[0, 2, 3, 1])  # (N, H, W, 2)
    shape = graph.add("Shape", grid)
    count, height, width = (
        graph.add("Slice", shape, *(graph.constant([bound], np.int64) for bound in (i, i + 1))) for i in range(3)
    )
    one, two, seven = (graph.constant([number], np.int64) for number in (1, 2, exemplar.pictures.shape[1]))
    rows = graph.add("Mul", count, height)
    grid = graph.add("Reshape", grid, graph.add("Concat", one, rows, width, two, axis=0))  # (1, N H, W, 2)
    found = graph.add("GridSample", pictures, grid, mode="bilinear", padding_mode="border", align_corners=0)
    found = graph.add("Reshape", found, graph.add("Concat", seven, count, height, width, axis=0))
    found = graph.add("Transpose", found, perm=[1, 0, 2, 3])  # (N, 7, H, W)
    seen, counts = graph.add("Split", found, graph.constant([6, 1], np.int64), outputs=2, axis=1)
    return graph.add("Concat", seen, graph.add("Mul", counts, sure), axis=1)


def _function(graph: _Graph, node: fx.Node, value: Any, names: dict[fx.Node, str]) -> str:
    arithmetic = {operator.add: "Add", operator.mul: "Mul", operator.sub: "Sub", operator.truediv: "Div"}
    if node.target in arithmetic:
        return graph.add(arithmetic[node.target], value(node.args[0]), value(node.args[1]))
    if node.target is operator.getitem:  # x[:, start:stop], channels
        source: Any = node.args[0]
        where: Any = node.args[1]
        channels = where[1]
        bounds = [graph.constant([bound], np.int64) for bound in (channels.start or 0, channels.stop or 2**31 - 1)]
        return graph.add("Slice", value(source), *bounds, graph.constant([1], np.int64))
    if node.target is F.avg_pool2d:
        size: Any = [node.args[1]] * 2
        return graph.add("AveragePool", value(node.args[0]), kernel_shape=size, strides=size)
    if node.target in (torch.tanh, torch.sqrt):
        return graph.add("Tanh" if node.target is torch.tanh else "Sqrt", value(node.args[0]))
    if node.target is torch.clamp:
        return graph.add("Clip", *(value(argument) for argument in node.args))
    if node.target is torch.cat:
        parts: Any = node.args[0]
        return graph.add("Concat", *(names[part] for part in parts), axis=node.args[1])
    if node.target is F.interpolate:
        scale, mode = node.kwargs["scale_factor"], node.kwargs["mode"]
        scales = graph.constant([1, 1, scale, scale])
        style: dict[str, Any] = (
            {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            if mode == "nearest"
            else {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        )
        return graph.add("Resize", value(node.args[0]), "", scales, **style)
    raise NotImplementedError(f"{node.target} has no ONNX form here yet")


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
    error = float(np.abs(encode(np.asarray(theirs)) - encode(decode(ours))).max())
    if not error < PARITY:
        raise ModelError(f"the exported model differs from the trained network by {error:.2g}; please report this")
