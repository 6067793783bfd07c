"""What every request passes, and what every response carries: limits and security headers."""

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 256 << 10
"""Enough for a thousand boxes; nothing is uploaded."""

_TOO_LARGE = f"body: expected at most {MAX_BODY_BYTES} bytes"
_SAFE = ("GET", "HEAD", "OPTIONS")


def problem(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A refusal, as the interface describes it."""
    return JSONResponse({"code": code, "message": message}, status, headers)


class Guard:
    """Refuses large bodies and requests that another site's page makes; adds the security headers.

    Tokens travel in a header that browsers never add by themselves, so other sites cannot use them; the check of
    `Origin` is a second lock.

    Args:
        app: The application behind it.
        frames: Sites that may show the page in a frame, and to which it may send its form (Mechanical Turk).
        https: Whether browsers reach the server by HTTPS.
    """

    def __init__(self, app: ASGIApp, frames: Sequence[str] = (), https: bool = False) -> None:
        self._app = app
        self._headers = _security_headers(frames, https)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    sent.setdefault(name, value)
            await send(message)

        refusal = _refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, guarded)
            return
        await self._app(scope, _limited(receive), guarded)


def _refusal(scope: Scope, headers: Headers) -> JSONResponse | None:
    declared = headers.get("content-length", "0")
    if not declared.isascii() or not declared.isdigit() or int(declared[:20]) > MAX_BODY_BYTES:
        return problem(413, "too_large", _TOO_LARGE)
    origin = headers.get("origin")
    if scope["method"] not in _SAFE and origin is not None and origin.partition("://")[2] != headers.get("host"):
        return problem(403, "forbidden", "origin: expected a page of this server")
    return None


def _limited(receive: Receive) -> Receive:
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return limited


def _security_headers(frames: Sequence[str], https: bool) -> dict[str, str]:
    sites = " ".join(frames) or "'none'"
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; "
        f"img-src 'self' blob: data:; base-uri 'none'; form-action {sites}; frame-ancestors {sites}"
    )
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
        "cache-control": "no-store",
    }
    if not frames:
        headers["x-frame-options"] = "DENY"
    if https:
        headers["strict-transport-security"] = "max-age=31536000"
    return headers
