"""How the loops of this room are compiled, by numba: importing what uses this compiles, or loads what was compiled.

Compiling takes seconds, once: numba keeps the result in `__pycache__` beside the source, or in the user's cache
where that cannot be written (`NUMBA_CACHE_DIR` names another place).
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba import boolean, float64, int16, int32, int64, uint8, uint32
from numba.core.types import Array

BYTES = Array(uint8, 1, "C", readonly=True)
PIXELS = Array(uint8, 3, "C", readonly=True)
OUT, TABLE, CANVAS = uint8[::1], uint8[:, ::1], uint8[:, :, ::1]
INT, INTS, WORDS = int32[::1], int32[:, ::1], uint32[::1]
LONGS, ROWS = int64[::1], int64[:, ::1]
COEFFICIENTS = int16[:, :, ::1]
MATRIX = float64[:, ::1]
BOOL, WHOLE, NOTHING = boolean, int64, numba.void

Whole = Any
"""int64: a Python int may be given."""
_Function = TypeVar("_Function", bound=Callable[..., Any])


def entry(signature: Any, *, hostile: bool = False) -> Callable[[_Function], _Function]:
    """Compile with all parts, or load what was compiled before; no cache where no folder for it can be written.

    Args:
        signature: Types of the arguments.
        hostile: Whether bytes from outside decide where it reads: then every index is checked.
    """

    def compile_function(function: _Function) -> _Function:
        try:
            made = numba.njit(signature, boundscheck=hostile, nogil=True, cache=True)(function)
        except RuntimeError:
            made = numba.njit(signature, boundscheck=hostile, nogil=True)(function)
        return cast(_Function, made)

    return compile_function


def part(*, hostile: bool = False) -> Callable[[_Function], _Function]:
    """A function that is compiled into those that call it; see `entry`."""

    def compile_function(function: _Function) -> _Function:
        return cast(_Function, numba.njit(boundscheck=hostile, nogil=True)(function))

    return compile_function
