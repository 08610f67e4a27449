"""Where paths of one machine lie on another: "/mnt/a=/mnt/b", or the rules of OpenJobDescription.

As there, the rule with the most folders in its source wins; a rule covers whole folders, so /show does not cover
/shows; paths of Windows are compared without regard to case, and both slashes separate.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from ..engine.errors import ParameterError

_FLAVOURS: dict[str, type[PurePath]] = {"POSIX": PurePosixPath, "WINDOWS": PureWindowsPath}


@dataclass(frozen=True)
class PathMapping:
    """(source, destination) pairs, applied to paths by `here`."""

    rules: tuple[tuple[PurePath, str], ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "PathMapping":
        """From "THERE=HERE" texts. A source with a drive or a backslash is one of Windows."""
        rules = []
        for text in texts:
            source, equals, destination = text.partition("=")
            if not (source and equals and destination):
                raise ParameterError(f"'{text}' maps no path; write it as THERE=HERE, such as /mnt/a=/mnt/b")
            windows = PureWindowsPath(source)
            rules.append((windows if windows.drive or "\\" in source else PurePosixPath(source), destination))
        return cls(tuple(rules))

    @classmethod
    def read_openjd(cls, path: Path) -> "PathMapping":
        """From the file that {{Session.PathMappingRulesFile}} names; without rules it holds {}.

        Raises ParameterError where it cannot be read.
        """
        try:
            file = json.loads(path.read_text(encoding="utf-8"))
            rules = tuple(
                (_FLAVOURS[rule["source_path_format"]](rule["source_path"]), str(rule["destination_path"]))
                for rule in file.get("path_mapping_rules", [])
                if rule["source_path_format"] in _FLAVOURS  # others (URI) are of no file system
            )
        except OSError as error:
            raise ParameterError(
                f"the path mapping {path} cannot be read ({error.strerror}); give the rules file of the session"
            ) from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ParameterError(
                f"{path} holds no path mapping rules of OpenJobDescription (pathmapping-1.0)"
            ) from None
        return cls(rules)

    def __add__(self, other: "PathMapping") -> "PathMapping":
        return PathMapping(self.rules + other.rules)

    def here(self, path: str) -> str | None:
        """The path on this machine, or None where no rule covers it."""
        for source, destination in sorted(self.rules, key=lambda rule: -len(rule[0].parts)):
            there = type(source)(path)
            if there.is_relative_to(source):
                return str(Path(destination).joinpath(*there.relative_to(source).parts))
        return None
