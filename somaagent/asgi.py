"""The gateway's ASGI application: HTTP by Django in two lanes, WebSocket by Channels, the server's stop."""

from __future__ import annotations

import os

import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings.module_for_environment())

import django
from django.conf import settings as django_settings

django.setup(set_prefix=False)

from channels.routing import ProtocolTypeRouter

import somaagent.celery  # noqa: F401 the tasks that are sent from here need its broker
from apps.chat import host
from apps.tools.mcp import sessions
from somaagent import loops
from somaagent.observability import logging, server_spans, tracing
from somaagent.routing import websocket
from somaagent.tenancy import pool
from somaagent.web import spans
from somaagent.web.lanes import Gateway
from somaagent.web.lifespan import Lifespan

logging.configure("gateway", django_settings.LOG_LEVEL)
tracing.configure("gateway", django_settings.OTLP_ENDPOINT)
spans.instrument()


async def _drain() -> None:
    await host.drain(django_settings.DRAIN_SECONDS)


application = ProtocolTypeRouter(
    {
        "http": Gateway(),
        "websocket": server_spans.Traced(websocket),
        "lifespan": Lifespan(at_stop=[_drain, sessions.close, loops.close, pool.close]),
    }
)
