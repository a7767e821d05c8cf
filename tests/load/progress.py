"""Lines for whoever watches."""

from __future__ import annotations

import time

_begun = time.monotonic()


def say(what: str) -> None:
    print(f"load: {time.monotonic() - _begun:5.1f} s  {what}", flush=True)
