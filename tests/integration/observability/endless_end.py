"""A worker whose processes come to no end by themselves."""

from __future__ import annotations

import signal
import time
from typing import Any

from celery.signals import worker_process_shutdown


@worker_process_shutdown.connect
def _stand_still(**_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
