"""Every error that Fewstroke raises on purpose.

The message of each is one sentence for the person who met it: what is wrong, with which file and frame, and what to do.
Numbers and paths are attributes, so that a host can show them its own way. Anything else that escapes is a bug of ours.
"""

from pathlib import Path


class FewstrokeError(Exception):
    """Base of all. `str(error)` is the sentence to show."""


class ParameterError(FewstrokeError):
    """An argument that cannot be right, whatever the files hold (the command line exits with 2)."""


class ImageError(FewstrokeError):
    """A picture that cannot be read, written or used."""

    def __init__(self, message: str, *, path: str | Path | None = None, frame: int | None = None):
        super().__init__(message)
        self.path = None if path is None else Path(path)
        self.frame = frame


class FrameMissingError(ImageError):
    """A frame that was asked for is not on disk."""


class ShapeError(FewstrokeError):
    """Two sizes that should agree do not."""

    def __init__(self, message: str, *, expected: tuple[int, ...], actual: tuple[int, ...]):
        super().__init__(message)
        self.expected = expected
        self.actual = actual


class ColorError(FewstrokeError):
    """A colour space that the OpenColorIO config does not know, or a config that cannot be read."""


class ModelError(FewstrokeError):
    """A file that is not a Fewstroke model, or one that this version cannot run."""

    def __init__(self, message: str, *, path: str | Path | None = None):
        super().__init__(message)
        self.path = None if path is None else Path(path)


class TrainingError(FewstrokeError):
    """Training cannot start or go on: nothing to learn from, a checkpoint of another run, a diverged loss."""


class GraphError(FewstrokeError):
    """A graph that cannot be evaluated: a cycle, a missing link, an unknown node or parameter."""


class CancelledError(FewstrokeError):
    """The caller asked to stop. Nothing was written; nothing was lost."""

    def __init__(self, message: str = "cancelled"):
        super().__init__(message)
