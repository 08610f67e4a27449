"""Frame ranges as a value: "1001-1040x2", "1,5,9-12", "-10--1". On top of fileseq, whose syntax this is.

In fileseq, Nuke and Houdini `x` steps; `:` staggers in fileseq and steps in OpenJobDescription, so it is refused here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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
        return frame in self.frames

    @property
    def first(self) -> int:
        """The smallest frame number."""
        return min(self.frames)

    @property
    def last(self) -> int:
        """The largest frame number."""
        return max(self.frames)
