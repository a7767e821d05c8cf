"""What goes wrong in pydantic-ai and the providers' own clients, as our failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import httpx2
import orjson
from multidict import CIMultiDict
from pydantic_ai import exceptions as theirs

from somaagent.agent import failures
from somaagent.agent.models.refusals import refusal, told_reason
from somaagent.errors import SomaError


@contextmanager
def told(model: str, secret: str) -> Iterator[None]:
    """Raises ``ModelError`` for what goes wrong inside. ``secret`` never appears in it."""
    try:
        yield
    except theirs.ModelHTTPError as error:
        raise _refused(error, model, secret) from error
    except theirs.ModelConnectionError as error:
        raise _lost(error) from error
    except (theirs.UserError, NotImplementedError) as error:
        raise failures.refused_request(_said(error, secret)) from error
    except theirs.ModelAPIError as error:
        raise _failed(error, secret) from error
    except theirs.AgentRunError as error:
        raise failures.garbled(_said(error, secret)) from error
    except (httpx.HTTPError, httpx2.HTTPError, ConnectionError) as error:
        raise failures.cut_off() from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # The clients parse with whatever raises these; what is ours has been put together before.
        raise failures.garbled("its client could not read it") from error


def _refused(error: theirs.ModelHTTPError, model: str, secret: str) -> SomaError:
    headers = CIMultiDict(error.headers or {})
    if error.retry_after is not None:
        headers["retry-after-ms"] = str(error.retry_after * 1000)
    body = orjson.dumps(error.body, default=str)
    return refusal(error.status_code, headers, body, model=model, secret=secret)


def _lost(error: theirs.ModelConnectionError) -> SomaError:
    if error.phase == "read":
        return failures.cut_off()
    if isinstance(error, theirs.ModelTimeoutError):
        return failures.unreachable("no connection in time")
    return failures.unreachable("it accepts no connection")


def _failed(error: theirs.ModelAPIError, secret: str) -> SomaError:
    if _unreadable(error):
        return failures.garbled("its client could not read it")
    return failures.failed(_said(error, secret), retry_after=error.retry_after)


def _unreadable(error: BaseException) -> bool:
    """Whether a parser is behind it."""
    cause = error.__cause__
    return isinstance(cause, ValueError) or (cause is not None and _unreadable(cause))


def _said(error: Exception, secret: str) -> str:
    return told_reason(str(error), secret) or type(error).__name__
