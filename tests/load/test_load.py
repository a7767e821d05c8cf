"""The short form of ``make load``: whether all is answered right, whatever it takes."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.stack import MARKER, PROJECT_ROOT, foreign_environment

# Few, because two cores do other tests meanwhile.
SHORT = ["--alone", "--seconds=0.3", "--readers=8", "--streams=50", "--pause=0.5"]
LAST_LINE = re.compile(
    r"^load: turns_per_s=\d+\.\d ttft_added_ms=-?\d+\.\d reads_per_s=\d+ streams=50 kb_per_stream=-?\d+\.\d$"
)


@pytest.mark.timeout(300)
def test_under_load_every_turn_is_answered_right_and_every_stream_is_counted():
    environment = {name: value for name, value in foreign_environment().items() if name != MARKER}
    done = subprocess.run(
        [sys.executable, "-m", "tests.load", *SHORT],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout[-4000:] + done.stderr[-3000:]
    assert done.returncode == 0, said
    assert LAST_LINE.match(done.stdout.splitlines()[-1]), said
