"""Events on their way to a Valkey that is there, and says nothing."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from apps.chat import stream
from apps.chat.appends import Appends
from apps.chat.taps import Record
from somaagent import valkey
from tests.model_server import loopback

FIRST = Record(1, "turn.started", b"{}")


async def test_a_valkey_that_says_nothing_is_given_up_in_time(settings, monkeypatch):
    """Its caller hears of it as of any other failure of Valkey's, and the next call begins anew."""
    asked: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)

    server = await asyncio.start_server(silent, loopback(), 0)
    monkeypatch.setattr(valkey, "TIMEOUT_SECONDS", 0.2)
    with monkeypatch.context() as away:
        away.setattr(
            settings, "VALKEY", settings.VALKEY | {"port": server.sockets[0].getsockname()[1], "tls": False}
        )
        appends = Appends()
        for times in (1, 2):
            with pytest.raises(valkey.ERRORS):
                await appends.append("nobody", [FIRST])
            assert len(asked) == times
    for writer in asked:
        writer.close()
    server.close()


async def test_a_call_that_took_too_long_is_not_mistaken_for_the_next(monkeypatch):
    """What Valkey answers late belongs to a connection that is closed by then."""
    turn = uuid4()
    await stream.append(turn, FIRST)
    await valkey.client().execute_command("CLIENT", "PAUSE", "400", "WRITE")
    with monkeypatch.context() as hasty:
        hasty.setattr(valkey, "TIMEOUT_SECONDS", 0.1)
        with pytest.raises(valkey.ERRORS):
            await stream.append(turn, Record(2, "text.delta", b'{"text":"two"}'))
    third = Record(3, "text.delta", b'{"text":"three"}')
    await stream.append(turn, third)
    assert (await stream.last(turn)) == third
    await stream.delete(turn)


async def test_a_valkey_that_was_started_anew_is_told_the_script_again():
    turn = uuid4()
    await stream.append(turn, FIRST)
    await valkey.client().script_flush()
    second = Record(2, "text.delta", b'{"text":"two"}')
    await stream.append(turn, second)
    assert (await stream.last(turn)) == second
    await stream.delete(turn)


async def test_of_a_batch_that_is_refused_nothing_is_appended():
    """Or a host that lost its turn would take a place that its heir has not come to."""
    turn = uuid4()
    heirs = Record(2, "turn.started", b'{"attempt":2}')
    await stream.append(turn, FIRST, heirs)
    with pytest.raises(stream.StreamLost):
        await stream.append(turn, Record(2, "text.delta", b'{"text":"a"}'), Record(3, "text.delta", b"{}"))
    assert (await stream.last(turn)) == heirs
    await stream.append(turn, FIRST, heirs)  # the same again: no harm
    await stream.delete(turn)
