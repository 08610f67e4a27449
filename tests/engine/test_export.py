"""The model file: what it computes, what it says, and that it needs nothing else."""

from collections.abc import Callable
from pathlib import Path

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
from fewstroke.engine.export import EDGE, export_model
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
