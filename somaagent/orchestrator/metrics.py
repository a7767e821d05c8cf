"""The orchestrator's own metrics: which services are up, their restarts, how long checks take."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from somaagent.observability.health import GOOD

from .configuration import private_directory
from .units import Unit

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def prepare_directory(run_dir: Path) -> None:
    """Empty the directory in which all processes put their metrics, and name it to them.

    Must be called before anything imports prometheus_client, which looks at the variable once.
    """
    directory = run_dir / "metrics"
    shutil.rmtree(directory, ignore_errors=True)
    os.environ[VARIABLE] = str(private_directory(directory))


def observer(run_dir: Path) -> MetricsObserver:
    """Prepare the directory, and keep the metrics of the services up to date in it."""
    prepare_directory(run_dir)
    return MetricsObserver()


class MetricsObserver:
    """Make one after ``prepare_directory``."""

    def __init__(self) -> None:
        from somaagent.observability import metrics  # noqa: PLC0415 - see prepare_directory

        self._metrics = metrics
        self._restarts: dict[str, int] = {}

    def changed(self, unit: Unit) -> None:
        self._metrics.SERVICE_UP.labels(unit.name).set(unit.state in GOOD)
        more = unit.restarts - self._restarts.get(unit.name, 0)
        if more:
            self._metrics.SERVICE_RESTARTS.labels(unit.name).inc(more)
            self._restarts[unit.name] = unit.restarts

    def checked(self, unit: Unit, seconds: float) -> None:
        self._metrics.SERVICE_CHECK_SECONDS.labels(unit.name).observe(seconds)
