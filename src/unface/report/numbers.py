"""Numbers as a reader wants to see them; what is not known is a dash."""

import math
from datetime import datetime

UNKNOWN = "–"


def count(value: float | None) -> str:
    """A whole number with thousands separated.

    >>> count(1431167)
    '1,431,167'
    """
    return UNKNOWN if value is None else f"{round(value):,}"


def plural(value: int, one: str, many: str | None = None) -> str:
    """A count and its noun.

    >>> plural(1, "face"), plural(2000, "face"), plural(0, "class", "classes")
    ('1 face', '2,000 faces', '0 classes')
    """
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def percent(part: float | None, whole: float | None) -> str:
    """A share in percent; only nothing is 0 %, and only all is 100 %.

    >>> percent(170, 1000), percent(99999, 100000), percent(1, 100000), percent(5, 5), percent(0, 0)
    ('17.0 %', '>99.9 %', '<0.1 %', '100 %', '–')
    """
    if part is None or not whole:
        return UNKNOWN
    share = 100 * part / whole
    if share in (0, 100):
        return f"{share:.0f} %"
    if share < 0.1:
        return "<0.1 %"
    return ">99.9 %" if 99.9 < share < 100 else f"{share:.1f} %"


def fraction(value: float | None, digits: int = 3) -> str:
    """A number in [0, 1], rounded down, so that what is below a limit never looks like the limit.

    >>> fraction(0.98996), fraction(1.0), fraction(None)
    ('0.989', '1.000', '–')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    scale = 10.0**digits
    return f"{math.floor(round(value * scale, 3)) / scale:.{digits}f}"


def rate(value: float | None) -> str:
    """A rate with three significant digits.

    >>> rate(0.5), rate(31.26), rate(15321.4)
    ('0.50', '31.3', '15,321')
    """
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def duration(seconds: float | None) -> str:
    """A time span in its two largest units.

    >>> duration(4.21), duration(59.96), duration(125), duration(7500), duration(200000)
    ('4.2 s', '1 min 00 s', '2 min 05 s', '2 h 05 min', '2 d 08 h')
    """
    if seconds is None:
        return UNKNOWN
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    for large, small, names in ((60, 1, ("min", "s")), (3600, 60, ("h", "min"))):
        whole, rest = divmod(round(seconds / small), large // small)
        if whole < (60 if large == 60 else 24):
            return f"{whole} {names[0]} {rest:02d} {names[1]}"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days:,} d {hours:02d} h"


def moment(iso: str) -> str:
    """An ISO 8601 time to the minute, as written if it is none.

    >>> moment("2025-03-04T10:00:31.5+00:00"), moment("2025-03-04T10:00:31"), moment("today")
    ('2025-03-04 10:00 UTC', '2025-03-04 10:00', 'today')
    """
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".rstrip()


def data_size(size_bytes: float | None) -> str:
    """A number of bytes in decimal units.

    >>> data_size(999), data_size(1_234_567), data_size(147e9)
    ('999 B', '1.2 MB', '147 GB')
    """
    if size_bytes is None:
        return UNKNOWN
    size, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
