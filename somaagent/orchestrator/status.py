"""``status``: what the running orchestrator recorded, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

import somaagent
from somaagent.observability import health

from .configuration import Configuration


def show(configuration: Configuration, *, output_format: str, write: Callable[[str], object]) -> int:
    """Print the health record. 0 when everything is healthy, else 1."""
    stored = health.load(configuration.run_dir)
    mode = stored.mode if stored else str(configuration.plain("SA01_DEPLOYMENT_MODE") or "unknown")
    record = health.judged(stored, mode=mode, version=somaagent.__version__)
    if output_format == "json":
        write(json.dumps(record.body(), indent=2) + "\n")
    else:
        _table(record)
    return 0 if record.status is health.Status.HEALTHY else 1


def _table(record: health.HealthRecord) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("service", "state", "critical", "since", "restarts", "check ms"):
        table.add_column(heading, no_wrap=True)
    table.add_column("last error", overflow="fold")
    for name, service in record.services.items():
        table.add_row(
            name,
            service.state.value,
            "yes" if service.critical else "no",
            service.since[:19].replace("T", " "),
            str(service.restarts),
            "" if service.latency_ms is None else f"{service.latency_ms:.1f}",
            "" if service.state in health.GOOD else service.last_error or "",
        )
    console.print(table)
    console.print(
        f"{record.status.value} ({record.mode}, version {record.version}, recorded {record.updated})"
    )
