"""What processes use: processor time and memory, with all their children."""

from __future__ import annotations

import contextlib
import os

import psutil

GENERATOR = "load generator"


def cpu_seconds(heads: dict[str, int]) -> dict[str, float]:
    """Processor time so far of each part, and of this process.

    A child that ended is in its parent's figures, so that the sum never falls.
    """
    return {name: _cpu(pid) for name, pid in heads.items()} | {GENERATOR: _own()}


def cpu_between(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after}


def proportional_kb(pid: int) -> float:
    """Memory of the process and its children, shared pages divided between those that share them (PSS)."""
    return sum(process.memory_full_info().pss for process in _tree(pid)) / 1024


def _tree(pid: int) -> list[psutil.Process]:
    head = psutil.Process(pid)
    return [head, *head.children(recursive=True)]


def _cpu(pid: int) -> float:
    seconds = 0.0
    for process in _tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):  # what it used is its parent's now
            seconds += sum(process.cpu_times()[:4])
    return seconds


def _own() -> float:
    times = os.times()
    return times.user + times.system
