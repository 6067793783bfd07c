"""How worker processes start."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import Any


def context(preload: Sequence[str]) -> Any:
    """The context that processes start in: never by forking this one, which may hold threads and locks.

    A fork server starts at once, and imports while this process gets ready; so call it early. Later calls find it.

    Args:
        preload: Modules that the processes will need, imported once for all of them where the system can.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(preload))
    resource_tracker.ensure_running()  # by itself: it lets Ctrl-C through once it has started
    with interrupt_held_back():
        forkserver.ensure_running()
    return server


@contextmanager
def interrupt_held_back() -> Iterator[None]:
    """Ctrl-C is this process's to handle: workers are born deaf to it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
