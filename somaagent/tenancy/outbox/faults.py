"""Why events could not be published last: kept in Valkey, where health finds it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

KEY = "soma:outbox:fault"
# Longer than the pause of a publisher that failed: what it does not say again is over.
SECONDS = 60


class Fault(StrEnum):
    """Why events cannot be handed over; all but ``unreachable`` stay until somebody changes a setting."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    AUTHENTICATION = "authentication"
    AUTHORIZATION = "authorization"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class Told:
    """What the publisher said of its last failure."""

    fault: Fault
    message: str

    @property
    def stays(self) -> bool:
        """Whether somebody has to do something: no event leaves before."""
        return self.fault is not Fault.UNREACHABLE


def fault_keep(client: Any, told: Told) -> None:
    client.set(KEY, orjson.dumps({"fault": told.fault, "message": told.message}), ex=SECONDS)


def fault_forget(client: Any) -> None:
    client.delete(KEY)


def last_fault(client: Any) -> Told | None:
    """None where the last batch went well, or nobody has tried for a minute."""
    kept = client.get(KEY)
    if kept is None:
        return None
    told = orjson.loads(kept)
    return Told(Fault(told["fault"]), told["message"])
