"""What every embedded server can do."""

from __future__ import annotations

from typing import Protocol

from somaagent.embedded.launch import Command


class EmbeddedServer(Protocol):
    """One server. Call ``prepare``, spawn ``command``, ask ``ready`` until it is, then ``configure``.

    All but OpenBao need OpenBao configured before their ``prepare``: it has their passwords.
    """

    @property
    def name(self) -> str: ...

    def prepare(self) -> None:
        """Before each start: configuration, set-up, what a crash left. Raises ``EmbeddedError``."""

    def command(self) -> Command:
        """What to spawn; call after ``prepare``."""

    def ready(self) -> None:
        """Raises ``NotReady`` until the server answers; takes a second at most."""

    def configure(self) -> None:
        """Once ready, after each start. Raises ``EmbeddedError``."""

    def environment(self) -> dict[str, str]:
        """The ``SA01_*`` settings that lead to this server. Never a secret; complete after ``configure``."""
