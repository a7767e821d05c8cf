"""What goes wrong in pydantic-ai and the providers' own clients, as our failures."""

from __future__ import annotations

import sys
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
    except theirs.AgentRunError as error:
        raise _of_theirs(error, model, secret) from error
    except (theirs.UserError, NotImplementedError) as error:
        raise failures.refused_request(_said(error, secret)) from error
    except (httpx.HTTPError, httpx2.HTTPError, ConnectionError) as error:
        raise failures.cut_off() from error
    except _amazon() as error:
        raise failures.unreachable(_said(error, secret)) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # The clients parse with whatever raises these; what is ours has been put together before.
        raise failures.garbled("its client could not read it") from error


def _of_theirs(error: theirs.AgentRunError, model: str, secret: str) -> SomaError:
    if isinstance(error, theirs.ModelHTTPError):
        return _refused(error, model, secret)
    if isinstance(error, theirs.ModelConnectionError):
        return _lost(error)
    if isinstance(error, theirs.ModelAPIError):
        return _failed(error, secret)
    return failures.garbled(_said(error, secret))


def _amazon() -> tuple[type[Exception], ...]:
    """The errors of Amazon's client that pydantic-ai lets through; its package need not be there."""
    module = sys.modules.get("botocore.exceptions")
    return (module.BotoCoreError,) if module else ()


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
