"""Sampling along a flow field.

A flow field is float32 (H, W, 2), pixels, x right and y down: what lies at pixel x in one frame lies at x + flow[x] in
the other. So `warp(other, flow)` brings the other frame's content to where it is in the first ("backward" warping,
which leaves no holes).
"""

import cv2
import numpy as np


def _positions(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = flow.shape[:2]
    return (
        flow[:, :, 0] + np.arange(width, dtype=np.float32),
        flow[:, :, 1] + np.arange(height, dtype=np.float32)[:, None],
    )


def inside(flow: np.ndarray) -> np.ndarray:
    """Where the flow points into the frame: bool (H, W). Elsewhere `warp` repeats the frame's border."""
    height, width = flow.shape[:2]
    x, y = _positions(flow)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def warp(pixels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A matte, a flow field or anything else that must not overshoot, sampled bilinearly at x + flow[x].

    pixels  float32 (H, W) or (H, W, C), C <= 4
    Returns a new array of the same shape. Zero flow returns the same values bit for bit.
    """
    sampled = cv2.remap(pixels, *_positions(flow), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return sampled.reshape(pixels.shape)


def warp_picture(pixels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A picture sampled bicubically at x + flow[x]: keeps detail that `warp` would soften.

    The result stays within the range of the 3x3 pixels round the sampled place, so that a highlight of any brightness
    gets no dark or negative ring. Zero flow returns the same values bit for bit.

    pixels  float32 (H, W, C), C <= 4, any finite value
    """
    x, y = _positions(flow)
    sampled = cv2.remap(pixels, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    neighbours = np.ones((3, 3), np.uint8)
    lowest, highest = (
        cv2.remap(extreme(pixels, neighbours), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        for extreme in (cv2.erode, cv2.dilate)
    )
    return cv2.max(cv2.min(sampled, highest), lowest).reshape(pixels.shape)


def compose(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The flow from frame a to frame c, out of those from a to b (`first`) and from b to c (`second`)."""
    return first + warp(second, first)
