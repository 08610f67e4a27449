"""Pieces of one result on several threads, given up at once when nobody wants the result any more."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import cv2

from .node import Cancel

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item], cancel: Cancel) -> list[Result]:
    """`[function(item) for item in items]`, on as many threads as OpenCV may use (`cv2.setNumThreads`).

    `cancel` is asked twenty times a second. Once it raises, so does this, without waiting: pieces not begun are
    dropped, and those under way run on to their end unheard. That is harmless for pure functions, and the only way
    where one call into a library takes seconds.
    """
    pool = ThreadPoolExecutor(max(1, cv2.getNumThreads()), thread_name_prefix="fewstroke-piece")
    try:
        futures = [pool.submit(function, item) for item in items]
        pending = set(futures)
        while pending:
            cancel()
            done, pending = wait(pending, timeout=0.05, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
