"""A process that starts all servers, tells their pids in a line of JSON, and waits to be killed."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from somaagent.embedded import Stack
from tests.integration.embedded.house import House
from tests.servers import started


def main(data_dir: Path) -> None:
    stack = Stack(data_dir)
    with stack.lock(), started(stack) as processes:
        house = House(stack, processes)
        house.write("kept")
        print(json.dumps([process.pid for process in house.family()]), flush=True)
        signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
