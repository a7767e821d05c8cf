"""Every WebSocket address."""

from __future__ import annotations

from channels.routing import URLRouter
from channels.sessions import CookieMiddleware, SessionMiddleware
from django.urls import path

from apps.chat.consumers import ChatConsumer
from somaagent.web.origin import OwnOrigin

websocket = OwnOrigin(
    CookieMiddleware(SessionMiddleware(URLRouter([path("api/v1/ws", ChatConsumer.as_asgi())])))
)
