"""Sampling along a flow field.

A flow field is float32 (H, W, 2), pixels, x right and y down: what lies at pixel x in one frame lies at x + flow[x] in
the other. So `warp(other, flow)` brings the other frame's content to where it is in the first ("backward" warping,
which leaves no holes). Estimated fields are coarser than their frame until they are `enlarged`.
"""

import cv2
import numpy as np

_BAND = 64
"""Rows sampled at once: large temporary arrays cost more time to allocate than to fill."""


def positions(flow: np.ndarray, top: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Where the flow points, x and y, for rows that begin at `top`: float32 (H, W) each."""
    height, width = flow.shape[:2]
    x, y = cv2.split(flow)
    x += np.arange(width, dtype=np.float32)
    y += np.arange(top, top + height, dtype=np.float32)[:, None]
    return x, y


def within(x: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which positions lie within a frame of this height and width: bool (H, W)."""
    return (x >= 0) & (x <= shape[1] - 1) & (y >= 0) & (y <= shape[0] - 1)


def inside(flow: np.ndarray) -> np.ndarray:
    """Where the flow points into the frame: bool (H, W). Elsewhere `warp` repeats the frame's border."""
    return within(*positions(flow), flow.shape)


def enlarged(flow: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A flow field that is coarser than its frame, at the frame's height and width; its values stay as they are."""
    if flow.shape[:2] == shape[:2]:
        return flow
    return cv2.resize(flow, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def warp(pixels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A matte, a flow field or anything else that must not overshoot, sampled bilinearly at x + flow[x].

    pixels  float32 (H, W) or (H, W, C), C <= 4
    Returns a new array of the same shape. Zero flow returns the same values bit for bit.
    """
    sampled = cv2.remap(pixels, *positions(flow), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return sampled.reshape(pixels.shape)


def warp_picture(pixels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A picture sampled bicubically at x + flow[x]: keeps detail that `warp` would soften.

    The result stays within the range of the 3x3 pixels round the sampled place, so that a highlight of any brightness
    gets no dark or negative ring. Zero flow returns the same values bit for bit.

    pixels  float32 (H, W, C), C <= 4, any finite value
    """
    neighbours = np.ones((3, 3), np.uint8)
    lowest, highest = cv2.erode(pixels, neighbours), cv2.dilate(pixels, neighbours)
    result = np.empty(pixels.shape, np.float32)
    for top in range(0, len(flow), _BAND):
        x, y = positions(flow[top : top + _BAND], top)
        sampled, low, high = (
            cv2.remap(source, x, y, method, borderMode=cv2.BORDER_REPLICATE)
            for source, method in (
                (pixels, cv2.INTER_CUBIC),
                (lowest, cv2.INTER_NEAREST),
                (highest, cv2.INTER_NEAREST),
            )
        )
        band = result[top : top + _BAND]
        band[:] = cv2.max(cv2.min(sampled, high), low).reshape(band.shape)
    return result


def slopes(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How float32 (H, W) or (H, W, C) changes per pixel, to the right and down: two of that shape."""
    right, down = (cv2.Sobel(picture, cv2.CV_32F, *along, ksize=3, scale=1 / 8) for along in ((1, 0), (0, 1)))
    return right, down


def compose(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The flow from frame a to frame c, out of those from a to b (`first`) and from b to c (`second`)."""
    return first + warp(second, first)
