"""Money is spent only after a person, or `--yes`, has agreed."""

import sys

from unface.cli.options import tell
from unface.detect import Detector
from unface.detect.detector import Paid
from unface.errors import InputError

_UNKNOWN_IMAGES = 1000


def confirm_cost(detector: Detector, images: int | None, yes: bool, again: str = "") -> None:
    """Tell what a detector costs, and ask; nothing for one that costs nothing.

    Args:
        detector: About to look at the images.
        images: How many there are at most; None where that is not known.
        yes: Whether the answer was given beforehand.
        again: What else will be paid for, in words.

    Raises:
        InputError: Nobody agreed.
    """
    cost = detector.cost_usd(_UNKNOWN_IMAGES if images is None else images) if isinstance(detector, Paid) else 0.0
    if not cost:
        return
    what = f"every {_UNKNOWN_IMAGES:,} images" if images is None else f"{images:,} images"
    tell(f"{detector.name}: {what} cost at most ${cost:,.3f} (list prices) and leave this machine{again}")
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError(f"{detector.name}: expected someone to agree to the cost; add --yes")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError(f"{detector.name}: nobody agreed to the cost; nothing was asked of it")
