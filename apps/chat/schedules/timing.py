"""When a schedule is due: a cron expression, read in a time zone.

The expressions, and what they mean on the days when clocks change, are those of Debian's cron, by way of
``cronsim``: a run at a fixed time that the clocks skip comes right after the gap, and one at a time that they
repeat comes once, the first time; an expression whose minute or hour begins with a star is read minute by
minute, so that what is skipped is not run and what comes twice is run twice.
"""

from __future__ import annotations

import functools
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice

from cronsim import CronSim, CronSimError

from somaagent.errors import SomaError, invalid

FIELDS = 5
HOW = (
    "Write five fields: minute, hour, day of the month, month, day of the week; for example 0 8 * * MON-FRI."
)


@dataclass(frozen=True, slots=True)
class Timing:
    """A checked cron expression, its fields parted by single spaces, and a time zone that is known."""

    cron: str
    time_zone: str

    def next_after(self, moment: datetime) -> datetime:
        """The first time after ``moment`` (aware), in UTC."""
        return next(self._after(moment))

    def coming(self, count: int, after: datetime) -> list[datetime]:
        """The next times, in the schedule's own time zone; fewer where the expression has no more."""
        zone = _zone(self.time_zone)
        return [moment.astimezone(zone) for moment in islice(self._after(after), count)]

    def _after(self, moment: datetime) -> Iterator[datetime]:
        for local in CronSim(self.cron, moment.astimezone(_zone(self.time_zone))):
            # In an hour that clocks repeat, a fixed time's only run may lie behind us already.
            if (planned := local.astimezone(UTC)) > moment:
                yield planned


def timing_of(*, cron: str, time_zone: str, place: str = "body") -> Timing:
    """Raises ``cron_invalid`` or ``time_zone_unknown``; ``place`` is where the caller wrote them."""
    if time_zone not in _zones():
        raise invalid(
            f"{place}.time_zone",
            "This time zone is not known: take a name of the IANA database, for example Europe/Paris or UTC.",
            code="time_zone_unknown",
        )
    timing = Timing(" ".join(cron.split()), time_zone)
    if timing.cron.count(" ") != FIELDS - 1:
        raise _bad_cron(place, f"This is no cron expression. {HOW}")
    try:
        timing.next_after(datetime.now(UTC))
    except CronSimError as error:
        fault = str(error).removeprefix("Bad ")
        raise _bad_cron(place, f"This is no cron expression: look at its {fault}. {HOW}") from error
    except StopIteration as error:
        raise _bad_cron(place, "This never comes, not in fifty years: choose a day that exists.") from error
    return timing


def _bad_cron(place: str, message: str) -> SomaError:
    return invalid(f"{place}.cron", message, code="cron_invalid")


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _zone(name: str) -> tzinfo:
    return zoneinfo.ZoneInfo(name)
