import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from unface.analysis.intervals import images_needed, wilson


@given(
    st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95, 0.99])
)
def test_wilson_is_scipys(case, confidence):
    hits, number = case
    theirs = binomtest(hits, number).proportion_ci(confidence, method="wilson")
    assert wilson(hits, number, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_of_nothing_nothing_is_known():
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.floats(0, 1), st.sampled_from([0.001, 0.01, 0.05, 0.2]))
def test_as_many_images_are_needed_as_make_it_narrow_enough(fraction, precision):
    number = images_needed(fraction, precision)

    def half(n):
        """By scipy's limits at hits as near to the fraction as n allows is not exact; so by the formula's inverse."""
        from math import sqrt

        z = 1.959963984540054
        return z / (1 + z * z / n) * sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))

    assert half(number) <= precision
    assert number == 1 or half(number - 1) > precision


def test_near_the_usual_formula():
    """n = z^2 p (1 - p) / d^2, where the normal approximation is good."""
    assert images_needed(0.5, 0.01) == pytest.approx(1.96**2 * 0.25 / 0.01**2, rel=0.01)


@pytest.mark.parametrize("precision", [0.0, 1.0, -1])
def test_a_precision_that_cannot_be_is_refused(precision):
    with pytest.raises(ValueError, match="precision"):
        images_needed(0.5, precision)
