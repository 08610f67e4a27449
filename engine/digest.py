"""Content digests: the names under which results are cached and compared."""

import hashlib
import json
from typing import Any

import numpy as np

# Made once: a key takes hundreds of digests, and making it takes as long as using it.
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def digest(*parts: Any) -> str:
    """32 hex digits that change with any part. Parts are JSON values, bytes or arrays (dtype and shape count)."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            header, body = f"array {part.dtype.str} {part.shape}", np.ascontiguousarray(part).data
        elif isinstance(part, bytes):
            header, body = f"bytes {len(part)}", part
        else:
            header, body = "json", _JSON.encode(part).encode()
        hasher.update(header.encode() + b"\0")
        hasher.update(body)
    return hasher.hexdigest()
