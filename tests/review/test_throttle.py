import pytest
from hypothesis import given
from hypothesis import strategies as st

from unface.review.throttle import Throttle


@given(st.lists(st.floats(0, 3), max_size=60))
def test_no_window_lets_more_through_than_burst_and_refill(gaps):
    now, allowed = 0.0, []
    throttle = Throttle(2, 5, lambda: now)
    for gap in gaps:
        now += gap
        if not throttle.wait("ann"):
            allowed.append(now)
    for i, start in enumerate(allowed):
        for j in range(i, len(allowed)):
            assert j - i + 1 <= 5 + 2 * (allowed[j] - start) + 1e-6


def test_the_wait_it_tells_is_enough_and_not_too_long():
    now = 0.0
    throttle = Throttle(4, 1, lambda: now)
    assert throttle.wait("ann") == 0
    told = throttle.wait("ann")
    assert told == pytest.approx(0.25)
    now += told - 0.01
    assert throttle.wait("ann")
    now += 0.011
    assert throttle.wait("ann") == 0
    assert throttle.wait("bob") == 0, "everybody has a bucket of his own"


def test_it_forgets_who_came_long_ago(monkeypatch):
    monkeypatch.setattr(Throttle, "_MOST_CALLERS", 10)
    throttle = Throttle(1, 1, lambda: 0.0)
    for caller in range(1000):
        throttle.wait(caller)
    assert len(throttle._buckets) == 10
