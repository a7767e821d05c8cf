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
from contextlib import suppress
from types import FrameType

import psutil
import structlog

# Most of them end in four.
QUIT_SECONDS = 8.0
_LAST_WORD_SECONDS = 0.5
_EXIT_STATUS = 1

logger = structlog.get_logger(__name__)


def limit_quitting(seconds: float = QUIT_SECONDS) -> None:
    """From here on SIGQUIT kills this process and its children after so many seconds, if it is still there.

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

    threading.Thread(target=_wait, args=(hears, seconds), name="quitting", daemon=True).start()
    signal.signal(signal.SIGQUIT, quits)


def _wait(hears: int, seconds: float) -> None:
    os.read(hears, 1)
    time.sleep(seconds)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    # A thread that says it and waits for a lock of whoever stands still must not keep this one.
    threading.Thread(target=logger.error, args=("quit.forced",), daemon=True).start()
    time.sleep(_LAST_WORD_SECONDS)
    os._exit(_EXIT_STATUS)
