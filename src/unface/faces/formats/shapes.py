"""The upright box around a shape that is none."""

import math
from collections.abc import Sequence

Bounds = tuple[float, float, float, float]


def around(points_xy: Sequence[Sequence[float]]) -> Bounds:
    """The box around points.

    >>> around([(1, 5), (3, 2)])
    (1, 2, 3, 5)
    """
    xs, ys = [point[0] for point in points_xy], [point[1] for point in points_xy]
    return min(xs), min(ys), max(xs), max(ys)


def rotated(bounds: Bounds, degrees: float, pivot_xy: tuple[float, float]) -> Bounds:
    """The box around a box that is turned clockwise (y points down) about a point.

    >>> [round(side, 9) for side in rotated((0, 0, 4, 2), 90, (0, 0))]
    [-2.0, 0.0, 0.0, 4.0]
    """
    if not degrees:
        return bounds
    x0, y0, x1, y1 = bounds
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    px, py = pivot_xy
    corners = [(x - px, y - py) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    return around([(px + x * cos - y * sin, py + x * sin + y * cos) for x, y in corners])
