"""Every error that unface raises on purpose."""

from collections.abc import Iterator
from contextlib import contextmanager


class UnfaceError(Exception):
    """Something unface refuses or cannot do; its message is one line: what, expected, got, where."""


class InputError(UnfaceError):
    """The user's input cannot be used: wrong option, unreadable path, damaged table (exit code 2)."""


class ImageError(UnfaceError):
    """One image cannot be processed; recorded as a failure, the image is not published."""


class PrivacyError(UnfaceError):
    """A result would show what it must hide."""


def one_line(error: BaseException | str) -> str:
    r"""Render an error as one printable line, control characters escaped.

    >>> one_line(ValueError("a\nb"))
    'a\\nb'
    """
    text = str(error) or (type(error).__name__ if isinstance(error, BaseException) else "")
    if text.isprintable():
        return text
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@contextmanager
def naming(image_id: str) -> Iterator[None]:
    """Put an image's id before what an `ImageError` inside a `with` block says."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{one_line(image_id)}: {error}") from error
