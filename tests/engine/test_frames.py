"""Frame ranges: what people write, and what they mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewstroke.engine.errors import ParameterError
from fewstroke.engine.frames import FrameRange


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("1001-1004", (1001, 1002, 1003, 1004)),
        ("1-10x3", (1, 4, 7, 10)),
        ("1,5,9-11", (1, 5, 9, 10, 11)),
        ("-3--1", (-3, -2, -1)),
        ("-1-1", (-1, 0, 1)),
        ("3-1", (3, 2, 1)),
        (" 7 ", (7,)),
    ],
)
def test_parse(text: str, frames: tuple[int, ...]) -> None:
    assert tuple(FrameRange.parse(text)) == frames


@given(st.lists(st.integers(-2000, 2000), min_size=1, max_size=30))
def test_text_and_back(frames: list[int]) -> None:
    value = FrameRange.of(frames)
    assert FrameRange.parse(str(value)) == value


@pytest.mark.parametrize("text", ["", "  ", "abc", "1-", "1001-1040:2", "1-10y2", "1..5"])
def test_what_is_no_range_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ParameterError, match="frame range"):
        FrameRange.parse(text)
