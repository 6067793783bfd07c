"""The loops over blocks: from coefficients to pixels as libjpeg-turbo makes them, and from new pixels to coefficients.

Sources: ITU-T T.81, A.3.3 (the transform) and T.871, 6.2 (colours) for what is meant. How it is rounded no standard
says: here it is done as libjpeg-turbo does by default ("islow" transform, "fancy" upsampling), so that pixels are those
that Pillow decodes, bit for bit.

Coefficients stand in natural order, row by row.
"""

import numpy as np
from numpy.typing import NDArray

from unface.images.region.compiled import (
    BOOL,
    CANVAS,
    COEFFICIENTS,
    INT,
    LONGS,
    MATRIX,
    NOTHING,
    PIXELS,
    ROWS,
    TABLE,
    WHOLE,
    Whole,
    entry,
    part,
)

_HIGHEST = 1023.0
_C1, _C2, _C3, _C4, _C5, _C6, _C7 = (np.cos(np.arange(1, 8) * np.pi / 16) / 2).tolist()
_LARGEST_MCU = 32
"""Pixels on a side: four blocks, or a block of samples of four pixels each."""
_FIRST_LIMIT, _SECOND_LIMIT, _LAST_LIMIT = 4095, 8191, 511
"""Up to here nothing overflows in the 32 and 16 bits that libjpeg-turbo computes with; soundly coded pictures stay far
below. Beyond, decoders differ."""
_SAFE_SUM = 1400
"""Coefficients of this sum stay below all limits: none of them weighs more than 1.39 a pass."""
_FIRST_SCALE, _SECOND_SCALE = 1 / (1 << 11), 1 / (1 << 18)
_F32 = np.float32


@part()
def _transform(work: NDArray[np.float64], scale: float) -> None:
    """Inverse DCT along the columns of a block, scaled and rounded; the result is transposed.

    Weights are cosines times 8192, rounded as sums of the rounded products of the factorisation by Loeffler,
    Ligtenberg and Moschytz (1989) come out. All numbers are whole until they are rounded, so doubles are exact. One
    array for all, since the compiler makes vectors of it where nothing can overlap.

    Args:
        work: The block in the first 64 places; changed.
        scale: What to multiply the sums by.
    """
    for j in range(8):
        a, b = (work[j] + work[32 + j]) * 8192.0, (work[j] - work[32 + j]) * 8192.0
        c = work[16 + j] * 10703.0 + work[48 + j] * 4433.0
        d = work[16 + j] * 4433.0 - work[48 + j] * 10704.0
        p, q, r, s = work[8 + j], work[24 + j], work[40 + j], work[56 + j]
        e = p * 11363.0 + q * 9633.0 + r * 6437.0 + s * 2260.0
        f = p * 9633.0 - q * 2259.0 - r * 11362.0 - s * 6436.0
        g = p * 6437.0 - q * 11362.0 + r * 2261.0 + s * 9633.0
        h = p * 2260.0 - q * 6436.0 + r * 9633.0 - s * 11363.0
        work[64 + j], work[120 + j] = a + c + e, a + c - e
        work[72 + j], work[112 + j] = b + d + f, b + d - f
        work[80 + j], work[104 + j] = b - d + g, b - d - g
        work[88 + j], work[96 + j] = a - c + h, a - c - h
    for n in range(64, 128):
        work[n] = np.floor(work[n] * scale + 0.5)
    for i in range(8):
        for j in range(8):
            work[8 * i + j] = work[64 + 8 * j + i]


@part()
def _exceeds(work: NDArray[np.float64], limit: float) -> bool:
    """Whether a number of a block is larger than that in magnitude."""
    count = 0
    for n in range(64):
        count += abs(work[n]) > limit
    return count > 0


@entry(BOOL(COEFFICIENTS, LONGS, WHOLE, ROWS, WHOLE, INT, TABLE))
def fill_plane(
    coefficients: NDArray[np.int16],
    mcus: NDArray[np.int64],
    mcus_a_row: Whole,
    layout: NDArray[np.int64],
    component: Whole,
    table: NDArray[np.int32],
    plane: NDArray[np.uint8],
) -> bool:
    """Make the samples of one component in some MCUs, and tell whether every decoder makes the same.

    Args:
        coefficients: For each slot and block, the 64 coefficients.
        mcus: For each slot, the number of its MCU.
        mcus_a_row: MCUs in a row of the scan.
        layout: Blocks of an MCU; see `code_pixels`.
        component: Number of the component in the scan.
        table: Its quantisation table in natural order, shape (64,).
        plane: Written: samples of the whole component in whole MCUs.
    """
    work, samples = np.empty(128), np.empty(64, np.uint8)
    for b in range(layout.shape[0]):
        if layout[b, 0] != component:
            continue
        for slot in range(mcus.size):
            block, total = coefficients[slot, b], 0
            for n in range(64):
                value: Whole = np.int32(block[n]) * table[n]
                total += abs(value)
                work[n] = value
            is_safe = total <= _SAFE_SUM
            if not is_safe and _exceeds(work, _FIRST_LIMIT):
                return False
            _transform(work, _FIRST_SCALE)
            if not is_safe and _exceeds(work, _SECOND_LIMIT):
                return False
            _transform(work, _SECOND_SCALE)
            if not is_safe and _exceeds(work, _LAST_LIMIT):
                return False
            for n in range(64):
                samples[n] = np.uint8(min(max(work[n] + 128.0, 0.0), 255.0))
            top = 8 * (mcus[slot] // mcus_a_row * layout[b, 4] + layout[b, 2])
            left = 8 * (mcus[slot] % mcus_a_row * layout[b, 3] + layout[b, 1])
            for i in range(8):
                line = plane[top + i, left : left + 8]
                for j in range(8):
                    line[j] = samples[8 * i + j]
    return True


@part()
def _enlarge_row(
    plane: NDArray[np.uint8],
    y: Whole,
    x0: Whole,
    x1: Whole,
    layout: NDArray[np.int64],
    work: NDArray[np.float32],
    row: NDArray[np.float32],
) -> None:
    """One row of pixels of a component: of samples twice as wide or high as pixels, the nearer counts three times.

    libjpeg-turbo does so where it can ("fancy"), and else repeats samples. Beyond the edge, its samples are repeated.
    """
    wide, high, columns, lines = layout
    is_smooth = wide == 1 or (wide == 2 and columns > 2)
    near = y // high
    far = near
    if high == 2 and is_smooth:
        far = min(max(near - 1 + 2 * (y & 1), 0), lines - 1)
    first, last = x0 // wide - 1, (x1 - 1) // wide + 2
    low, high_end = max(first, 0), min(last, columns)
    nearer, farther, inner = plane[near, low:high_end], plane[far, low:high_end], work[low - first :]
    for i in range(nearer.size):
        inner[i] = _F32(3) * _F32(nearer[i]) + _F32(farther[i])
    if first < low:
        work[0] = work[1]
    if last > high_end:
        work[last - first - 1] = work[last - first - 2]
    count = last - first - 2
    if wide == 2 and high <= 2 and is_smooth:
        before, after = (_F32(8), _F32(7)) if high == 2 else (_F32(4), _F32(8))
        for i in range(count):
            row[2 * i] = np.floor((_F32(3) * work[i + 1] + work[i] + before) * _F32(1 / 16))
            row[2 * i + 1] = np.floor((_F32(3) * work[i + 1] + work[i + 2] + after) * _F32(1 / 16))
    elif wide == 1:
        bias = _F32(1 + (y & 1))
        for i in range(count):
            row[i] = np.floor((work[i + 1] + bias) * _F32(1 / 4))
    else:
        for i in range(count):
            row[i * wide : (i + 1) * wide] = work[i + 1] * _F32(1 / 4)


@part()
def _to_rgb(rows: NDArray[np.float32], count: Whole) -> None:
    """Luma and chroma to red, green and blue, in place, by 16 bits of each weight: whole numbers that floats hold."""
    luma, cb, cr = rows[0], rows[1], rows[2]
    for i in range(count):
        y, b, r = luma[i], cb[i] - _F32(128), cr[i] - _F32(128)
        red = y + np.floor((_F32(91881) * r + _F32(32768)) * _F32(1 / 65536))
        green = y + np.floor((_F32(32768) - _F32(22554) * b - _F32(46802) * r) * _F32(1 / 65536))
        blue = y + np.floor((_F32(116130) * b + _F32(32768)) * _F32(1 / 65536))
        luma[i] = min(max(red, _F32(0)), _F32(255))
        cb[i] = min(max(green, _F32(0)), _F32(255))
        cr[i] = min(max(blue, _F32(0)), _F32(255))


@entry(NOTHING(TABLE, TABLE, TABLE, ROWS, BOOL, ROWS, CANVAS))
def fill_pixels(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    third: NDArray[np.uint8],
    layout: NDArray[np.int64],
    is_ycbcr: bool,
    areas_xyxy: NDArray[np.int64],
    pixels: NDArray[np.uint8],
) -> None:
    """Make pixels of the samples of one component or three.

    Args:
        first: Samples of the first component, as `fill_plane` makes them.
        second: Likewise; not looked at if there is but one.
        third: Likewise.
        layout: For each component: width and height of a sample in pixels, columns and rows of samples in the image.
        is_ycbcr: Whether colours are coded as luma and chroma.
        areas_xyxy: Rectangles of pixels to make, of whole samples of every component.
        pixels: Written there, shape (H, W, 1 or 3).
    """
    channels, width = pixels.shape[2], pixels.shape[1]
    rows, work = np.empty((3, width + 4), np.float32), np.empty(width + 4, np.float32)
    for n in range(areas_xyxy.shape[0]):
        x0, y0, x1, y1 = areas_xyxy[n, 0], areas_xyxy[n, 1], areas_xyxy[n, 2], areas_xyxy[n, 3]
        for y in range(y0, y1):
            _enlarge_row(first, y, x0, x1, layout[0], work, rows[0])
            if channels == 3:
                _enlarge_row(second, y, x0, x1, layout[1], work, rows[1])
                _enlarge_row(third, y, x0, x1, layout[2], work, rows[2])
            if is_ycbcr:
                _to_rgb(rows, x1 - x0)
            line = pixels[y, x0:x1]
            for c in range(channels):
                row = rows[c]
                for i in range(x1 - x0):
                    line[i, c] = np.uint8(row[i])


@part()
def _find_reached(
    reached_xyxy: NDArray[np.int64], x: Whole, y: Whole, wide: Whole, high: Whole, flags: NDArray[np.bool_]
) -> Whole:
    """Flag the samples of a block that a reached pixel has a part in.

    Returns:
        How many there are.
    """
    flags[:] = False
    for n in range(reached_xyxy.shape[0]):
        left, right = (reached_xyxy[n, 0] - x) // wide, (reached_xyxy[n, 2] - x + wide - 1) // wide
        top, bottom = (reached_xyxy[n, 1] - y) // high, (reached_xyxy[n, 3] - y + high - 1) // high
        if left <= 0 and top <= 0 and right >= 8 and bottom >= 8:
            flags[:] = True
            return np.int64(64)
        for i in range(max(top, 0), min(bottom, 8)):
            for j in range(max(left, 0), min(right, 8)):
                flags[8 * i + j] = True
    count = np.int64(0)
    for n in range(64):
        count += flags[n]
    return count


@part()
def _convert(
    pixels: NDArray[np.uint8],
    left: Whole,
    top: Whole,
    wide: Whole,
    high: Whole,
    weights: NDArray[np.float64],
    row: NDArray[np.float64],
    planes: NDArray[np.float64],
) -> None:
    """Components of the pixels of an MCU: weighted sums of the channels; beyond the image, its edge is repeated."""
    bottom, right = pixels.shape[0] - 1, pixels.shape[1] - 1
    row[:] = 0
    for y in range(high):
        line = pixels[min(top + y, bottom), left:]
        for channel in range(pixels.shape[2]):
            values = row[channel]
            for x in range(min(wide, line.shape[0])):
                values[x] = line[x, channel]
            for x in range(line.shape[0], wide):
                values[x] = line[right - left, channel]
        for n in range(weights.shape[0]):
            a, b, c, d, more = weights[n, 0], weights[n, 1], weights[n, 2], weights[n, 3], weights[n, 4]
            first, second, third, fourth, plane = row[0], row[1], row[2], row[3], planes[n, y]
            for x in range(wide):
                plane[x] = a * first[x] + b * second[x] + c * third[x] + d * fourth[x] + more


@part()
def _fill(
    plane: NDArray[np.float64],
    left: Whole,
    top: Whole,
    wide: Whole,
    high: Whole,
    flags: NDArray[np.bool_],
    means: NDArray[np.float64],
    work: NDArray[np.float64],
) -> None:
    """Make the flagged samples of a block: each is the mean of its pixels' components."""
    share = 1 / (wide * high)
    for i in range(8):
        mean = means[8 * i : 8 * i + 8]
        mean[:] = 0
        for y in range(high):
            line = plane[top + i * high + y, left : left + 8 * wide]
            for x in range(wide):
                for j in range(8):
                    mean[j] += line[j * wide + x]
    for n in range(64):
        work[n] = means[n] * share - 128 if flags[n] else work[n]


@part()
def _analyse(work: NDArray[np.float64]) -> None:
    """DCT along the columns of the block in the first 64 places (T.81, A.3.3); the result is transposed."""
    for j in range(8):
        p, q, r, s = (
            work[j] + work[56 + j],
            work[8 + j] + work[48 + j],
            work[16 + j] + work[40 + j],
            work[24 + j] + work[32 + j],
        )
        e, f, g, h = (
            work[j] - work[56 + j],
            work[8 + j] - work[48 + j],
            work[16 + j] - work[40 + j],
            work[24 + j] - work[32 + j],
        )
        work[64 + j], work[96 + j] = ((p + s) + (q + r)) * _C4, ((p + s) - (q + r)) * _C4
        work[80 + j] = (p - s) * _C2 + (q - r) * _C6
        work[112 + j] = (p - s) * _C6 - (q - r) * _C2
        work[72 + j] = e * _C1 + f * _C3 + g * _C5 + h * _C7
        work[88 + j] = e * _C3 - f * _C7 - g * _C1 - h * _C5
        work[104 + j] = e * _C5 - f * _C1 + g * _C7 + h * _C3
        work[120 + j] = e * _C7 - f * _C5 + g * _C3 - h * _C1
    for i in range(8):
        for j in range(8):
            work[8 * i + j] = work[64 + 8 * j + i]


@part()
def _synthesise(work: NDArray[np.float64]) -> None:
    """Inverse DCT along the columns of the block in the first 64 places, neither rounded nor clipped; transposed."""
    for j in range(8):
        a, b = (work[j] + work[32 + j]) * _C4, (work[j] - work[32 + j]) * _C4
        c, d = work[16 + j] * _C2 + work[48 + j] * _C6, work[16 + j] * _C6 - work[48 + j] * _C2
        p, q, r, s = work[8 + j], work[24 + j], work[40 + j], work[56 + j]
        e = p * _C1 + q * _C3 + r * _C5 + s * _C7
        f = p * _C3 - q * _C7 - r * _C1 - s * _C5
        g = p * _C5 - q * _C1 + r * _C7 + s * _C3
        h = p * _C7 - q * _C5 + r * _C3 - s * _C1
        work[64 + j], work[120 + j] = a + c + e, a + c - e
        work[72 + j], work[112 + j] = b + d + f, b + d - f
        work[80 + j], work[104 + j] = b - d + g, b - d - g
        work[88 + j], work[96 + j] = a - c + h, a - c - h
    for i in range(8):
        for j in range(8):
            work[8 * i + j] = work[64 + 8 * j + i]


@entry(NOTHING(PIXELS, ROWS, LONGS, WHOLE, ROWS, MATRIX, MATRIX, COEFFICIENTS))
def code_pixels(
    pixels: NDArray[np.uint8],
    reached_xyxy: NDArray[np.int64],
    mcus: NDArray[np.int64],
    mcus_a_row: Whole,
    layout: NDArray[np.int64],
    weights: NDArray[np.float64],
    tables: NDArray[np.float64],
    coefficients: NDArray[np.int16],
) -> None:
    """Code new pixels into the blocks that they reach, and leave the other blocks alone.

    A sample that a reached pixel has a part in is made from the new pixels alone; the others keep the value that
    the block had, neither rounded nor clipped, so that requantising is all that happens to them.

    Args:
        pixels: New pixels as stored, shape (H, W, channels).
        reached_xyxy: Rectangles of pixels that may have changed, shape (M, 4), none of them empty. What is coded
            beyond the right or the lower edge of the image is reached if the rectangle goes on there.
        mcus: For each slot, the number of its MCU.
        mcus_a_row: MCUs in a row of the scan.
        layout: For each block of an MCU: component, column and row in the MCU, columns and rows of the MCU in
            blocks, width and height of a sample in pixels.
        weights: For each component, weights of four channels (0 for those that there are not), and what to add.
        tables: For each component, its quantisation table in natural order, shape (components, 64).
        coefficients: Changed: for each slot and block, the 64 coefficients.
    """
    work, means, flags = np.empty(128), np.empty(64), np.empty(64, np.bool_)
    planes, row = np.empty((weights.shape[0], _LARGEST_MCU, _LARGEST_MCU)), np.empty((4, _LARGEST_MCU))
    shares = 1 / tables
    mcu_wide, mcu_high = layout[0, 3] * 8 * layout[0, 5], layout[0, 4] * 8 * layout[0, 6]
    for slot in range(mcus.size):
        left, top = (mcus[slot] % mcus_a_row) * mcu_wide, (mcus[slot] // mcus_a_row) * mcu_high
        is_converted = False
        for b in range(layout.shape[0]):
            component, wide, high = layout[b, 0], layout[b, 5], layout[b, 6]
            x, y = layout[b, 1] * 8 * wide, layout[b, 2] * 8 * high
            count = _find_reached(reached_xyxy, left + x, top + y, wide, high, flags)
            if count == 0:
                continue
            if not is_converted:
                _convert(pixels, left, top, mcu_wide, mcu_high, weights, row, planes)
                is_converted = True
            block, table, share = coefficients[slot, b], tables[component], shares[component]
            if count < 64:
                for n in range(64):
                    work[n] = block[n] * table[n]
                _synthesise(work)
                _synthesise(work)
            _fill(planes[component], x, y, wide, high, flags, means, work)
            _analyse(work)
            _analyse(work)
            for n in range(64):
                block[n] = min(max(np.rint(work[n] * share[n]), -_HIGHEST), _HIGHEST)
