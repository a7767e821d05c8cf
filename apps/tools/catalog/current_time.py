"""``current_time``: models know no clock."""

from __future__ import annotations

import functools
import zoneinfo
from datetime import UTC, datetime

from apps.tools.tool import Arguments, Caller, Risk, Tool
from somaagent.errors import invalid


async def run(caller: Caller, arguments: Arguments) -> str:
    name = arguments.get("time_zone", "UTC")
    if name not in _zones():
        raise invalid(
            "time_zone",
            "This time zone is not known: take a name of the IANA database, for example Europe/Paris or UTC.",
            code="time_zone_unknown",
        )
    now = datetime.now(UTC).astimezone(zoneinfo.ZoneInfo(name))
    return f"{now.isoformat(timespec='seconds')} ({now:%A}, {name})"


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


TOOL = Tool(
    name="current_time",
    description=(
        "The current date, time and weekday, as ISO 8601 with the offset from UTC. "
        "Give time_zone, an IANA name such as Europe/Paris, for a place's own time."
    ),
    parameters={
        "type": "object",
        "properties": {
            "time_zone": {
                "type": "string",
                "minLength": 1,
                "maxLength": 64,
                "description": "IANA name, for example Asia/Tokyo. Without it: UTC.",
            }
        },
        "additionalProperties": False,
    },
    run=run,
    idempotent=True,
    needs_approval=False,
    risk=Risk.LOW,
    seconds=5,
    most_characters=200,
)
