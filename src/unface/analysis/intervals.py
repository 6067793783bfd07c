"""How sure a fraction is, and how many images make it so."""

import math
from statistics import NormalDist

CONFIDENCE = 0.95


def wilson(hits: int, number: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927, JASA 22:209-212); (0, 1) of nothing.

    >>> [round(limit, 4) for limit in wilson(2, 50)]
    [0.011, 0.1346]
    """
    if not number:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, weight = hits / number, 1 + z**2 / number
    middle = (p + z**2 / (2 * number)) / weight
    half = z / weight * math.sqrt(p * (1 - p) / number + z**2 / (4 * number**2))
    low = 0.0 if hits == 0 else middle - half
    return low, 1.0 if hits == number else middle + half


def images_needed(fraction: float, precision: float, confidence: float = CONFIDENCE) -> int:
    """Images that make Wilson's interval around a fraction at most as wide as twice `precision`.

    >>> images_needed(0.02, 0.01)
    792
    """
    if not 0 < precision < 1:
        raise ValueError(f"precision: expected a number between 0 and 1, got {precision}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def half(number: int) -> float:
        spread = fraction * (1 - fraction) / number + z**2 / (4 * number**2)
        return z / (1 + z**2 / number) * math.sqrt(spread)

    low, high = 0, 1
    while half(high) > precision:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if half(middle) > precision else (low, middle)
    return high
