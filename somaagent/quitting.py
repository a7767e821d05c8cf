"""A process that is told to quit (SIGQUIT) is gone soon, whatever holds it up.

Celery ends its worker inside the handler of the signal, wherever that interrupted it, and waits there for its
processes without a limit: now and then it stands still. Nobody is left then to kill it, for SIGQUIT is what
it is sent when its supervisor died. What it had goes to others: messages wake, leases decide.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import psutil
import structlog

# Most of them end in four.
QUIT_SECONDS = 8.0
_LAST_WORDS_SECONDS = 2.0
_EXIT_STATUS = 1

logger = structlog.get_logger(__name__)


def limit_quitting(last: Callable[[], None], seconds: float = QUIT_SECONDS) -> None:
    """From here on SIGQUIT kills this process and its children after so many seconds, if it is still there.
    What is to be done even then, as far as it is quick, is ``last``.

    For the main thread, after whoever handles the signal has said so: that handler is called as before.
    """
    # A pipe, since the handler of a signal may take no lock.
    hears, tells = os.pipe()
    handles, own = signal.getsignal(signal.SIGQUIT), os.getpid()

    def quits(number: int, frame: FrameType | None) -> None:
        if os.getpid() == own:  # a fork inherits the handler and the pipe
            os.write(tells, b"!")
        if callable(handles):
            handles(number, frame)

    threading.Thread(target=_wait, args=(hears, seconds, last), name="quitting", daemon=True).start()
    signal.signal(signal.SIGQUIT, quits)


def _wait(hears: int, seconds: float, last: Callable[[], None]) -> None:
    os.read(hears, 1)
    time.sleep(seconds)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    # Threads of their own: what waits for a lock of whoever stands still keeps neither this one nor another.
    words = [
        threading.Thread(target=logger.error, args=("quit.forced",), daemon=True),
        threading.Thread(target=last, daemon=True),
    ]
    for word in words:
        word.start()
    until = time.monotonic() + _LAST_WORDS_SECONDS
    for word in words:
        word.join(max(0.0, until - time.monotonic()))
    os._exit(_EXIT_STATUS)
