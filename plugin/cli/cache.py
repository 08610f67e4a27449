"""`fewstroke cache`: what is kept of flow fields, registrations and grain."""

import time
from typing import Annotated

import typer

from fewstroke.nodes.cache import DiskCache

from .output import output


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete it: costs time, no pixel.")] = False,
) -> None:
    """Show or clear the cache of motion, registrations and grain."""
    disk = DiskCache()
    facts = disk.clear() if clear else disk.info()
    did = "deleted from" if clear else "in"
    text = f"{facts.count} results, {facts.bytes / 1e6:.1f} MB, {did} {facts.path}"
    if facts.oldest is not None and not clear:
        text += f", the oldest last used {(time.time() - facts.oldest) / 86400:.1f} days ago"
    output.event(
        "cache", text, path=str(facts.path), count=facts.count, bytes=facts.bytes, oldest=facts.oldest, cleared=clear
    )
