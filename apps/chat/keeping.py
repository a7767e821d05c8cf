"""A turn that its host begins while its rows are on their way to the database (docs/adr/0031)."""

from __future__ import annotations

import asyncio


class Keeping:
    """Whether they are kept, as soon as that is known."""

    def __init__(self) -> None:
        self._settled = asyncio.Event()
        self._kept = False

    def settle(self, *, kept: bool) -> None:
        self._kept = kept
        self._settled.set()

    async def kept(self) -> bool:
        """Returns when it is known."""
        await self._settled.wait()
        return self._kept
