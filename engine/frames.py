"""Frame ranges as a value: "1001-1040x2", "1,5,9-12", "-10--1". On top of fileseq, whose syntax this is.

In fileseq, Nuke and Houdini `x` steps; `:` staggers in fileseq and steps in OpenJobDescription, so `parse` refuses it.
What other programs write is read and written by the methods named after them:

    | program | every second frame | -3, -2, -1 | order |
    | --- | --- | --- | --- |
    | fileseq | 1-9x2 | -3--1 | kept |
    | OpenJobDescription | 1-9:2 | -3--1 | sorted: there a range is a set |
    | Blender's -f | 1,3,5,7,9 | +0..+2, where the scene begins at -3 | kept |
    | OpenCue | 1-9x2 | -3--1 | kept |
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from fileseq.exceptions import ParseException
from fileseq.frameset import FrameSet

from .errors import ParameterError


@dataclass(frozen=True)
class FrameRange:
    """An immutable, ordered set of frame numbers; negative numbers are frames like any other."""

    frames: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "FrameRange":
        """From text such as "1001-1040x2,1050".

        Raises ParameterError where the text is no frame range, or holds no frame.
        """
        cleaned = text.strip()
        if ":" in cleaned or "y" in cleaned:
            raise ParameterError(f"'{text}' is not a frame range: use 1001-1040, or 1001-1040x2 for every second frame")
        try:
            frames = tuple(int(frame) for frame in FrameSet(cleaned)) if cleaned else ()
        except (ParseException, ValueError, OverflowError):
            raise ParameterError(
                f"'{text}' is not a frame range: write it as 1001-1040, 1001-1040x2 or 1,5,9-12"
            ) from None
        if not frames:
            raise ParameterError(f"the frame range '{text}' is empty: name at least one frame, such as 1001-1040")
        return cls.of(frames)

    @classmethod
    def of(cls, frames: Iterable[int]) -> "FrameRange":
        """From numbers, in the order given, repeats dropped."""
        return cls(tuple(dict.fromkeys(int(frame) for frame in frames)))

    def __str__(self) -> str:
        """The shortest text that parses back to the same frames."""
        return FrameSet.framesToFrameRange(self.frames, sort=False) if self.frames else ""

    def __iter__(self) -> Iterator[int]:
        return iter(self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def __contains__(self, frame: object) -> bool:
        return frame in self._known

    @cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(self.frames)

    def chunk(self, number: int, count: int) -> "FrameRange":
        """One of `count` parts, numbered from 1, of neighbouring frames and of sizes that differ by one at most.

        Empty where there are more parts than frames. Neighbours stay together since they share their motion.
        """
        if not 1 <= number <= count:
            raise ParameterError(
                f"there is no chunk {number} of {count}; number them from 1, such as 1/{max(1, count)}"
            )
        bounds = [len(self) * edge // count for edge in (number - 1, number)]
        return FrameRange(self.frames[bounds[0] : bounds[1]])

    # ---- as others write them

    @classmethod
    def from_fileseq(cls, text: str) -> "FrameRange":
        """From all that fileseq knows: "1-9x2", "1-9y2" (what x leaves out), "1-9:3" (staggered)."""
        try:
            frames = tuple(int(frame) for frame in FrameSet(text))
        except (ParseException, ValueError, OverflowError):
            frames = ()
        if not frames:
            raise ParameterError(f"'{text}' is no frame range of fileseq; write it as 1-9 or 1-9x2")
        return cls.of(frames)

    def to_fileseq(self) -> str:
        return str(self)

    @classmethod
    def from_openjd(cls, text: str) -> "FrameRange":
        """From an OpenJobDescription range expression: "1-9:2,20"; a set, so the result is sorted."""
        ranges = _ranges(
            text, r"(?P<first>-?\d+)(?:\s*-\s*(?P<last>-?\d+)(?::(?P<step>-?\d+))?)?", int, downwards=False
        )
        if ranges is None:
            raise ParameterError(f"'{text}' is no frame range of OpenJobDescription; write it as 1-9 or 1-9:2")
        return cls.of(sorted(frame for numbers in ranges for frame in numbers))

    def to_openjd(self) -> str:
        """A range expression of the same frames; OpenJobDescription will sort them."""
        return ",".join(
            str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" + (f":{run.step}" if run.step > 1 else "")
            for run in _runs(sorted(self.frames))
        )

    @classmethod
    def from_blender(cls, text: str, *, start: int, end: int) -> "FrameRange":
        """From what `blender -f` takes: "1,5..8"; "+2" is the third frame of the scene, "-1" its last.

        start, end  the scene's range
        """

        def number(digits: str) -> int:
            if digits[0] == "+":
                return start + int(digits[1:])
            return end + 1 - int(digits[1:]) if digits[0] == "-" else int(digits)

        ranges = _ranges(text, r"(?P<first>[+-]?\d+)(?:\.\.(?P<last>[+-]?\d+)(?P<step>))?", number)
        if ranges is None:
            raise ParameterError(f"'{text}' is no frame range of Blender's -f; write it as 1,5..8")
        return cls.of(frame for numbers in ranges for frame in numbers)

    def to_blender(self, *, start: int) -> str:
        """For `blender -f`, where a minus counts from the scene's end: frames below 0 are counted from its start.

        start  the scene's first frame. Raises ParameterError where a frame below 0 comes before it.
        """
        if min(self.frames) < min(start, 0):
            raise ParameterError(
                f"frame {min(self.frames)} cannot be told to Blender's -f, since the scene begins at {start}; "
                "let it begin earlier"
            )

        def text(frame: int) -> str:
            return str(frame) if frame >= 0 else f"+{frame - start}"

        parts: list[str] = []
        for run in _runs(self.frames):
            many = len(run) > 1 and run.step == 1
            parts += [f"{text(run[0])}..{text(run[-1])}"] if many else map(text, run)
        return ",".join(parts)

    @classmethod
    def from_opencue(cls, text: str) -> "FrameRange":
        """From OpenCue: "1-9x2", "9-1x-2", "1-9y2" (what x leaves out), "1-9:4" (interleaved)."""
        pattern = r"(?P<first>-?\d+)(?:-(?P<last>-?\d+)(?:(?P<kind>[xy:])(?P<step>-?\d+))?)?"
        frames: list[int] = []
        for match in (re.fullmatch(pattern, part) for part in text.split(",")):
            numbers = match and _numbers(match, int)
            if not match or not numbers:
                frames.clear()
                break
            frames += _opencue_order(numbers, match["kind"])
        if not frames:
            raise ParameterError(f"'{text}' is no frame range of OpenCue; write it as 1-9 or 1-9x2")
        return cls.of(frames)

    def to_opencue(self) -> str:
        return ",".join(
            str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" + (f"x{run.step}" if run.step != 1 else "")
            for run in _runs(self.frames)
        )

    @property
    def first(self) -> int:
        """The smallest frame number."""
        return min(self.frames)

    @property
    def last(self) -> int:
        """The largest frame number."""
        return max(self.frames)


def _ranges(text: str, pattern: str, number: Callable[[str], int], *, downwards: bool = True) -> list[range] | None:
    """The comma-separated parts of a text, or None where one is none; `downwards`: whether 9-1 needs no step."""
    matches = [re.fullmatch(pattern, part.strip()) for part in text.split(",")]
    ranges = [None if match is None else _numbers(match, number, downwards) for match in matches]
    return [numbers for numbers in ranges if numbers] if all(ranges) else None


def _numbers(match: re.Match[str], number: Callable[[str], int], downwards: bool = True) -> range | None:
    """The frames from first to last; None where the step is 0 or leads away from the last."""
    first = number(match["first"])
    last = first if match["last"] is None else number(match["last"])
    step = int(match["step"]) if match["step"] else -1 if last < first and downwards else 1
    return None if step == 0 or (last - first) * step < 0 else range(first, last + (1 if step > 0 else -1), step)


def _opencue_order(numbers: range, kind: str | None) -> Iterable[int]:
    """Frames as OpenCue means x, y and `:`, from the range that x would give."""
    if kind in (None, "x"):
        return numbers
    sign = 1 if numbers.step > 0 else -1
    every = range(numbers.start, numbers.stop, sign)
    if kind == "y":
        return [frame for frame in every if frame not in numbers]
    # Interleaved: every n-th, then from one further on with half of n, until n is 1.
    frames, start, step = list[int](), numbers.start, numbers.step
    while step:
        frames += range(start, numbers.stop, step)
        start, step = start + sign, int(step / 2)
    return frames


def _runs(frames: Iterable[int]) -> Iterator[range]:
    """Cuts frames into evenly spaced runs, in their order; two alone make a run only where they are neighbours."""
    run: list[int] = []

    def cut() -> Iterator[range]:
        if len(run) == 2 and abs(run[1] - run[0]) > 1:
            yield range(run[0], run[0] + 1)
            del run[0]
        else:
            step = run[1] - run[0] if len(run) > 1 else 1
            yield range(run[0], run[-1] + (1 if step > 0 else -1), step)
            run.clear()

    for frame in frames:
        while len(run) > 1 and frame - run[-1] != run[1] - run[0]:
            yield from cut()
        run.append(frame)
    while run:
        yield from cut()
