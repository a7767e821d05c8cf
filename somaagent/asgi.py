"""The gateway's ASGI application: HTTP by Django, WebSocket by Channels, and the server's start and stop."""

from __future__ import annotations

import os

import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings.module_for_environment())

from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application

_http = get_asgi_application()

from channels.routing import ProtocolTypeRouter  # noqa: E402 Django is set up above

from somaagent.observability import logging, tracing  # noqa: E402
from somaagent.routing import websocket  # noqa: E402
from somaagent.web.lifespan import Lifespan  # noqa: E402

logging.configure("gateway", django_settings.LOG_LEVEL)
tracing.configure("gateway", django_settings.OTLP_ENDPOINT)

application = ProtocolTypeRouter({"http": _http, "websocket": websocket, "lifespan": Lifespan()})
