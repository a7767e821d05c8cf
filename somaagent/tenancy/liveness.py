"""Whether a connection to PostgreSQL still lives, as far as this side knows."""

from __future__ import annotations

import select
from typing import Any

from psycopg import BaseConnection


def is_quiet(connection: BaseConnection[Any]) -> bool:
    """Whether it is open, and the server has said nothing since its last answer.

    What a server says of itself is that it hangs up. Nothing is sent, so a network that lost the connection
    without a word is noticed by the next statement.
    """
    if connection.closed:
        return False
    news = select.poll()
    news.register(connection.fileno(), select.POLLIN)
    return not news.poll(0)
