"""Places: the node's contract. What they are is seen in the ST map (test_stmap.py)."""

import numpy as np
import pytest
from standing import check_cancel, check_declared, check_keys, check_order, fresh_evaluator
from test_guide import HEIGHT, WIDTH, known, pan, square

from fewstroke.nodes.places import Places, PlacesParams

NODES = {
    "plain": lambda params: Places(params, footage=pan()),
    "layers": lambda params: Places(params, *square()),
    "vectors": lambda params: Places(params, footage=pan(), vectors=known(-3, -1)),
}


@pytest.mark.parametrize("name", NODES)
def test_any_order_gives_the_same_bits(name: str) -> None:
    check_order(NODES[name](PlacesParams(5, 2)), (1, 5, 6, 11))


def test_every_parameter_changes_the_key() -> None:
    check_keys(NODES["plain"], PlacesParams(5, 2), frame=11)


@pytest.mark.parametrize("name", NODES)
def test_reads_only_what_it_declares(name: str) -> None:
    for frame in (5, 6, 12, 1):
        check_declared(NODES[name](PlacesParams(5, 4)), frame)


def test_cancels() -> None:
    check_cancel(NODES["layers"](PlacesParams(5, 4)), 9)


def test_there_is_a_layer_for_the_subject_too() -> None:
    for name, layers in (("plain", 1), ("layers", 2), ("vectors", 1)):
        places = fresh_evaluator()(NODES[name](PlacesParams(5)), 6)
        assert places.shape == (layers, HEIGHT, WIDTH, 3) and places.dtype == np.float32


@pytest.mark.parametrize("frames", [(), (8,)])
def test_a_key_frame_and_exact_motion_need_no_neighbours(frames: tuple[int, ...]) -> None:
    node = NODES["vectors" if frames else "plain"](PlacesParams(5))
    for frame in (5, *frames):
        assert set(node.frames_needed(frame)["colors"]) == {5, frame}
        assert "cut" not in node.frames_needed(frame)
