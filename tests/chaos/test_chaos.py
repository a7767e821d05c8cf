"""The short form of ``make chaos``."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.stack import MARKER, PROJECT_ROOT, foreign_environment

FIGURES = re.compile(
    r"^chaos: turns=6 lost=0 duplicated_events=0 skipped_events=0 .* repeated_side_effects=0 "
    r".* taken_over=(\d+) .* takeover_p95_s=\d+\.\d$",
    re.MULTILINE,
)


@pytest.mark.timeout(300)
def test_no_turn_is_lost_and_no_event_repeated_or_skipped_whatever_is_killed():
    environment = {name: value for name, value in foreign_environment().items() if name != MARKER}
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--turns", "6", "--words", "45"],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    figures = FIGURES.search(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert figures is not None, done.stdout
    assert int(figures[1]) >= 3, done.stdout
