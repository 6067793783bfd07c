"""Signed links: each opens one thing, for one purpose, until it expires."""

import base64
import hashlib
import hmac
from datetime import datetime

from unface.errors import UnfaceError


class BadLink(UnfaceError):
    """Forged, damaged, of another purpose, or expired."""


def sign(key: str, purpose: str, numbers: tuple[int, ...], expires: datetime) -> str:
    """A link's last part: numbers, expiry in seconds since 1970, HMAC-SHA256 (RFC 2104) of these and the purpose.

    >>> from datetime import UTC
    >>> sign("key", "image", (3, 7), datetime(2030, 1, 1, tzinfo=UTC))
    '3-7-1893456000-jl7h4sraS57Yj7rF_pq1g0jV8tMR7OdCgfvDr7_kq9Q'
    """
    said = "-".join(str(number) for number in (*numbers, int(expires.timestamp())))
    return f"{said}-{_mac(key, purpose, said)}"


def opened(key: str, purpose: str, link: str, count: int, now: datetime) -> tuple[int, ...]:
    """The `count` numbers of a link.

    Raises:
        BadLink: Not signed with this key for this purpose, or expired.
    """
    *said, mac = link.split("-", count + 1)
    text = "-".join(said)
    if len(said) != count + 1 or not hmac.compare_digest(mac.encode(), _mac(key, purpose, text).encode()):
        raise BadLink("link: expected one of this review, got a damaged or forged one")
    *numbers, expires = (int(number) for number in said)
    if now.timestamp() >= expires:
        raise BadLink("link: expected a fresh one, got one that has expired")
    return tuple(numbers)


def _mac(key: str, purpose: str, said: str) -> str:
    digest = hmac.new(key.encode(), f"{purpose}-{said}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
