"""Limits on how often somebody may ask."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Bucket:
    left: float
    at: float


class Throttle:
    """A token bucket for each caller: `burst` requests at once, refilled at `per_second`.

    Callers who have not been seen for longest are forgotten beyond `_MOST_CALLERS`.
    """

    _MOST_CALLERS = 100_000

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float]) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._buckets: OrderedDict[object, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, caller: object) -> float:
        """Count a request; the seconds to wait before it would be allowed, 0 if it is."""
        with self._lock:
            now = self._clock()
            bucket = self._buckets.setdefault(caller, _Bucket(self._burst, now))
            self._buckets.move_to_end(caller)
            if len(self._buckets) > self._MOST_CALLERS:
                self._buckets.popitem(last=False)
            bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_second)
            bucket.at = now
            if bucket.left < 1:
                return (1 - bucket.left) / self._per_second
            bucket.left -= 1
            return 0.0
