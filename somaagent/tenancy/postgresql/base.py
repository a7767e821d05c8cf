"""Django's PostgreSQL, whose connections are checked before use without asking the server."""

from __future__ import annotations

from django.db.backends.postgresql import base
from psycopg import pq

from somaagent.tenancy.liveness import is_quiet

_USABLE = (pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS)


class DatabaseWrapper(base.DatabaseWrapper):
    """``CONN_HEALTH_CHECKS`` asks it once a request; Django's would send ``SELECT 1`` and wait."""

    def is_usable(self) -> bool:
        found = self.connection
        return found is not None and is_quiet(found) and found.info.transaction_status in _USABLE
