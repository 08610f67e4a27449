"""The model file: what it computes, what it says, and that it needs nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from networks import facts, random_generator
from torch import nn

from fewstroke.engine.color import decode, encode
from fewstroke.engine.errors import ModelError
from fewstroke.engine.export import BRIGHTEST, EDGE, OPSET, _decode, _encode, _Graph, export_model
from fewstroke.engine.model import ModelInfo
from fewstroke.engine.sessions import read_info


@pytest.mark.parametrize(("preset", "channels"), [("fast", 3), ("fast", 9), ("paper", 3)])
@pytest.mark.parametrize("size", [(33, 47), (64, 64), (5, 90)])
def test_onnx_computes_what_torch_computes(
    models: Callable[..., bytes], rng: np.random.Generator, preset: str, channels: int, size: tuple[int, int]
) -> None:
    linear = rng.normal(0.3, 0.5, (2, channels, *size)).astype(np.float32)
    linear[:, :3, 0, 0] = 1000
    session = ort.InferenceSession(models(preset, channels), providers=["CPUExecutionProvider"])
    theirs = np.asarray(session.run(None, {"image": linear})[0])
    network = random_generator(preset, channels)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "zeros"
    below, right = (EDGE + -side % 4 for side in size)
    encoded = np.concatenate([encode(linear[:, :3]), linear[:, 3:]], 1)
    padded = F.pad(torch.from_numpy(encoded), (EDGE, right, EDGE, below), mode="replicate")
    with torch.no_grad():
        ours = network(padded)[:, :, EDGE : EDGE + size[0], EDGE : EDGE + size[1]].numpy()
    assert np.abs(encode(theirs) - encode(decode(ours))).max() < 2e-4


def test_a_file_that_is_a_little_brighter_than_the_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def brighter(graph: _Graph, encoded: str, output: str) -> None:
        _decode(graph, graph.add("Add", encoded, graph.constant(0.0005)), output=output)

    monkeypatch.setattr("fewstroke.engine.export._decode", brighter)
    generator = random_generator()
    with pytest.raises(ModelError, match=r"differs from the trained network by 0\.0005"):
        export_model(generator, facts(generator))


def test_a_file_with_another_border_than_the_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def mirrored(graph: _Graph, operation: str, *inputs: str, **attributes: Any) -> Any:
        if operation == "Pad":
            attributes["mode"] = "reflect"
        return add(graph, operation, *inputs, **attributes)

    add = _Graph.add
    monkeypatch.setattr("fewstroke.engine.export._Graph.add", mirrored)
    generator = random_generator()
    with pytest.raises(ModelError, match="differs from the trained network by"):
        export_model(generator, facts(generator))


def run_graph(graph: _Graph, output: str, value: np.ndarray) -> np.ndarray:
    """What a graph from "x" to `output` makes of an array."""
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", output)]
    made = onnx.helper.make_graph(graph.nodes, "test", ends[:1], ends[1:], graph.constants)
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": value})[0])


def test_the_curve_inside_is_the_working_curve() -> None:
    """Both ways, from black to the brightest half float, on both sides of the knee and of zero."""
    linear = np.concatenate([[0], np.geomspace(1e-8, 1, 20001), np.geomspace(1, BRIGHTEST, 5001)]).astype(np.float32)
    linear = np.concatenate([-linear[::-1], linear])
    graph = _Graph()
    encoded = run_graph(graph, _encode(graph, "x"), linear)
    assert np.abs(encoded - encode(linear))[np.abs(linear) <= 1].max() < 1e-5
    assert np.abs(encoded - encode(linear)).max() < 2e-4
    assert (np.diff(encoded) > -1e-6).all()
    graph = _Graph()
    _decode(graph, "x", output="linear")
    decoded = run_graph(graph, "linear", encode(linear))
    assert np.abs(encode(decoded) - encode(linear))[np.abs(linear) <= 1].max() < 1e-5
    assert np.abs(encode(decoded) - encode(linear)).max() < 2e-4


@pytest.mark.parametrize(("preset", "channels"), [("fast", 3), ("fast", 9), ("paper", 3)])
def test_the_sizes_that_the_file_states_are_true(models: Callable[..., bytes], preset: str, channels: int) -> None:
    """A runtime may believe them."""
    model = onnx.load_from_string(models(preset, channels))
    stated = list(model.graph.value_info)
    assert len(stated) > 20
    model.graph.output.extend(stated)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    _, *layers = session.run(None, {"image": np.zeros((2, channels, 33, 46), np.float32)})
    height, width = 36 + 2 * EDGE, 48 + 2 * EDGE
    for info, layer in zip(stated, layers, strict=True):
        divisor = int(info.type.tensor_type.shape.dim[2].dim_param.removeprefix("height_"))
        count, _, *size = np.asarray(layer).shape
        assert (count, size) == (2, [height // divisor, width // divisor]), info.name


def test_the_same_weights_give_the_same_bytes() -> None:
    one, two = (export_model(generator, facts(generator)) for generator in (random_generator(), random_generator()))
    assert one == two


def test_batch_normalisation_is_folded_and_nothing_looks_at_the_whole_image(models: Callable[..., bytes]) -> None:
    operators = {node.op_type for node in onnx.load_from_string(models()).graph.node}
    assert not operators & {"BatchNormalization", "InstanceNormalization", "ReduceMean", "GlobalAveragePool"}


def test_the_facts_come_back(tmp_path: Path) -> None:
    generator = random_generator()
    info = facts(
        generator,
        keyframes=({"frame": 1001, "painting": "paint.png", "digest": "ab"},),
        guide={"seed": 3},
        losses={"l1": 0.1},
    )
    path = tmp_path / "shot.onnx"
    path.write_bytes(export_model(generator, info))
    assert read_info(path) == info


def test_an_onnx_file_of_someone_else_is_named() -> None:
    with pytest.raises(ModelError, match=r"other\.onnx is ONNX but not a Fewstroke model"):
        ModelInfo.from_metadata({}, "other.onnx")
    with pytest.raises(ModelError, match="newer"):
        ModelInfo.from_metadata({"fewstroke": '{"format": 99}'}, "new.onnx")
    with pytest.raises(ModelError, match="older"):
        ModelInfo.from_metadata({"fewstroke": '{"format": 1}'}, "old.onnx")


def test_one_pixel_of_paint_stays_in_its_place(models: Callable[..., bytes]) -> None:
    """A shift by the size multiple shifts the result: no crop or padding is off by one."""
    picture = np.zeros((1, 3, 96, 96), np.float32)
    picture[..., 40, 44] = 1
    session = ort.InferenceSession(models(), providers=["CPUExecutionProvider"])
    base = np.asarray(session.run(None, {"image": picture * 0})[0])
    here = np.asarray(session.run(None, {"image": picture})[0]) - base
    there = np.asarray(session.run(None, {"image": np.roll(picture, (4, 8), (2, 3))})[0]) - base
    assert np.allclose(np.roll(here, (4, 8), (2, 3))[..., 30:70, 30:70], there[..., 30:70, 30:70], atol=1e-5)
