"""Several statements in one message: libpq's pipeline mode, on psycopg's connections and with its types.

psycopg's own pipelines spare the ways there and back as well, and cost more processor than they spare: they
make a cursor and a future for each statement and look each up anew. Here a batch is one write, one wait and
one future.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import abc, adapt, pq
from psycopg.errors import error_from_result
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

# Of one connection. What is sent beyond that is parsed each time.
MOST_PREPARED = 500

_PLACE = re.compile(r"%\((\w+)\)s|%%")
_Rows = list[tuple[Any, ...]]


class Connection(psycopg.AsyncConnection[TupleRow]):
    """psycopg's, which also sends batches. To be used by one coroutine at a time."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._types: abc.Transformer | None = None
        self._names: dict[tuple[bytes, tuple[int, ...]], bytes] = {}

    async def batch(self, statements: Sequence[tuple[str, Mapping[str, Any]]]) -> list[_Rows]:
        """The rows of each statement: SQL with ``%(name)s`` for its parameters.

        They are sent together and run one after the other; without a BEGIN among them they are one
        transaction. Raises psycopg's errors, that of the first that fails; those behind it are not run. A
        cancellation closes the connection: what was sent may have been done.
        """
        types = self._types = self._types or adapt.Transformer(self)
        sent = [_dumped(types, sql, parameters) for sql, parameters in statements]
        exchange = _Exchange(self.pgconn)
        self.pgconn.enter_pipeline_mode()
        try:
            runs, prepared = self._send(sent)
            results = await exchange.results()
        except BaseException:
            self.pgconn.finish()
            raise
        self.pgconn.exit_pipeline_mode()
        for place, key, name in prepared:
            if results[place].status == pq.ExecStatus.COMMAND_OK:
                self._names[key] = name
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise error_from_result(result, self.info.encoding)
        return [self._rows(types, results[place]) for place in runs]

    def _send(
        self, sent: Sequence[tuple[bytes, Any, Any, Any]]
    ) -> tuple[list[int], list[tuple[int, tuple[bytes, tuple[int, ...]], bytes]]]:
        """The places of the statements among the results, and of those that are prepared on the way."""
        pgconn, place = self.pgconn, 0
        runs: list[int] = []
        prepared: list[tuple[int, tuple[bytes, tuple[int, ...]], bytes]] = []
        names: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        for query, values, types, formats in sent:
            key = (query, types)
            name = self._names.get(key) or names.get(key)
            if name is None and len(self._names) + len(names) < MOST_PREPARED:
                name = names[key] = b"batch_%d" % (len(self._names) + len(names))
                pgconn.send_prepare(name, query, types)
                prepared.append((place, key, name))
                place += 1
            if name is None:
                pgconn.send_query_params(query, values, types, formats)
            else:
                pgconn.send_query_prepared(name, values, formats)
            runs.append(place)
            place += 1
        pgconn.pipeline_sync()
        return runs, prepared

    @staticmethod
    def _rows(types: abc.Transformer, result: PGresult) -> _Rows:
        if result.status != pq.ExecStatus.TUPLES_OK:
            return []
        types.set_pgresult(result)
        return types.load_rows(0, result.ntuples, tuple)


def _dumped(types: abc.Transformer, sql: str, parameters: Mapping[str, Any]) -> tuple[bytes, Any, Any, Any]:
    query, names = _compiled(sql)
    if not names:
        return query, None, (), None
    values = types.dump_sequence([parameters[name] for name in names], [adapt.PyFormat.AUTO] * len(names))
    return query, values, types.types or (), types.formats


@functools.lru_cache(maxsize=1_000)
def _compiled(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement as PostgreSQL numbers its parameters, and their names in that order."""
    names: dict[str, int] = {}

    def placed(found: re.Match[str]) -> str:
        return f"${names.setdefault(found[1], len(names) + 1)}" if found[1] else "%"

    return _PLACE.sub(placed, sql).encode(), tuple(names)


class _Exchange:
    """What was sent in pipeline mode, up to its sync, and what the server says to it."""

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self._pgconn = pgconn
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._results: list[PGresult] = []

    async def results(self) -> list[PGresult]:
        socket = self._pgconn.socket
        unsent = self._pgconn.flush()
        self._loop.add_reader(socket, self._step, self._receive)
        if unsent:
            self._loop.add_writer(socket, self._step, self._flush)
        try:
            await self._over
        finally:
            self._loop.remove_reader(socket)
            if unsent:
                self._loop.remove_writer(socket)
        return self._results

    def _step(self, step: Any) -> None:
        if self._over.done():
            return
        try:
            step()
        except psycopg.Error as error:
            self._over.set_exception(error)

    def _flush(self) -> None:
        if not self._pgconn.flush():
            self._loop.remove_writer(self._pgconn.socket)

    def _receive(self) -> None:
        """Results come in the order of the statements, each followed by None; the sync is the last."""
        pgconn, ended = self._pgconn, False
        pgconn.consume_input()
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                if ended:
                    return
                ended = True
            elif result.status == pq.ExecStatus.PIPELINE_SYNC:
                self._over.set_result(None)
                return
            else:
                ended = False
                self._results.append(result)
