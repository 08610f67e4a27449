"""Checkpoints: one safetensors file with its facts as JSON in the header. Never a pickled class.

One file, written beside and renamed into place, so that at any moment there is either the previous whole checkpoint or
the next whole one, whatever kills the process.
"""

import json
import os
import uuid
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .errors import TrainingError

FORMAT = "fewstroke checkpoint 4"


def write_atomically(path: Path, data: bytes) -> None:
    """The whole of `data` at `path`, or what was there before; never a part. Raises TrainingError with the remedy."""
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written ({error.strerror}); choose a folder that exists, is writable and has space left"
        ) from None


def save_checkpoint(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes tensors and JSON facts. Raises TrainingError where the folder cannot be written."""
    header = {"format": FORMAT, "facts": json.dumps(facts)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(contiguous, metadata=header))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` wrote. Raises TrainingError where there is none or it is not one."""
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise TrainingError(f"{path} is not a checkpoint of this version; train again without --resume")
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(header["facts"])  # noqa: SIM118
    except FileNotFoundError:
        raise TrainingError(f"there is no checkpoint {path} to resume; train without --resume first") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise TrainingError(f"the checkpoint {path} is damaged ({error}); train again without --resume") from None
