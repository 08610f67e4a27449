"""Frame ranges: what people write, and what they mean."""

import pytest
from fileseq.frameset import FrameSet
from FileSequence.FrameSet import FrameSet as OpenCueFrameSet
from hypothesis import given
from hypothesis import strategies as st
from openjd.model import IntRangeExpr

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


frame_lists = st.lists(st.integers(-2000, 2000), min_size=1, max_size=30)
numbers = st.integers(-30, 30)


@given(frame_lists)
def test_what_others_are_told_they_read_as_the_same_frames(frames: list[int]) -> None:
    value = FrameRange.of(frames)
    assert tuple(FrameSet(value.to_fileseq())) == value.frames
    assert list(IntRangeExpr.from_str(value.to_openjd())) == sorted(value)
    assert tuple(OpenCueFrameSet(value.to_opencue()).getAll()) == value.frames


@given(frame_lists)
def test_what_was_written_for_others_reads_back(frames: list[int]) -> None:
    value = FrameRange.of(frames)
    start = min(0, value.first)
    assert FrameRange.from_fileseq(value.to_fileseq()) == value
    assert FrameRange.from_openjd(value.to_openjd()) == FrameRange.of(sorted(value))
    assert FrameRange.from_blender(value.to_blender(start=start), start=start, end=value.last) == value
    assert FrameRange.from_opencue(value.to_opencue()) == value


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60))
def test_what_others_write_is_read(frames: list[int]) -> None:
    assert FrameRange.from_openjd(str(IntRangeExpr.from_list(frames))) == FrameRange.of(sorted(frames))  # type: ignore[arg-type]
    assert FrameRange.from_fileseq(str(FrameSet(frames))) == FrameRange.of(frames)
    assert FrameRange.from_opencue(str(OpenCueFrameSet(",".join(map(str, frames))))) == FrameRange.of(frames)


def read(function: object, text: str) -> tuple[int, ...] | None:
    """What a parser makes of a text, None where it refuses it."""
    try:
        return tuple(function(text))  # type: ignore[operator]
    except (ValueError, ParameterError):
        return None


@given(numbers, numbers, st.integers(-6, 6))
def test_steps_of_any_direction_are_understood_or_refused_as_others_do(first: int, last: int, step: int) -> None:
    for text in (f"{first}-{last}:{step}", f"{first}-{last}", f"{first}"):
        theirs = read(lambda text: sorted(IntRangeExpr.from_str(text)), text)
        assert read(FrameRange.from_openjd, text) == theirs
    for kind in "xy:":
        text = f"{first}-{last}{kind}{step}"
        theirs = read(lambda text: OpenCueFrameSet(text).getAll(), text)
        ours = read(FrameRange.from_opencue, text)
        # OpenCue lets a step of 1 lead away from the last frame, and then has none; of 5-5x-1 it makes an error.
        assert ours == (theirs or None) or (first == last and step < 0), text
        if kind != "y" or step > 0:
            assert read(FrameRange.from_fileseq, text) == (read(FrameSet, text) or None), text


def test_a_colon_staggers_in_fileseq_and_steps_in_openjd() -> None:
    assert tuple(FrameRange.from_fileseq("1-10:3")) == (1, 4, 7, 10, 3, 5, 9, 2, 6, 8)
    assert tuple(FrameRange.from_openjd("1-10:3")) == (1, 4, 7, 10)


def test_blender_counts_a_minus_from_the_end_of_the_scene() -> None:
    # As its manual has it: -f -2 is the last frame but one.
    assert tuple(FrameRange.from_blender("-2,+0..+1,7", start=-5, end=20)) == (19, -5, -4, 7)
    assert FrameRange.of([-5, -4, -3, 8]).to_blender(start=-5) == "+0..+2,8"
    with pytest.raises(ParameterError, match="frame -6"):
        FrameRange.of([-6]).to_blender(start=-5)


@given(frame_lists, st.integers(1, 12))
def test_chunks_are_the_whole_in_even_parts(frames: list[int], count: int) -> None:
    value = FrameRange.of(frames)
    chunks = [value.chunk(number, count) for number in range(1, count + 1)]
    assert tuple(frame for chunk in chunks for frame in chunk) == value.frames
    assert max(map(len, chunks)) - min(map(len, chunks)) <= 1


@pytest.mark.parametrize(("number", "count"), [(0, 4), (5, 4), (1, 0)])
def test_a_chunk_that_is_none_is_refused(number: int, count: int) -> None:
    with pytest.raises(ParameterError, match="chunk"):
        FrameRange.parse("1-8").chunk(number, count)
