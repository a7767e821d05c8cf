"""Every WebSocket address."""

from __future__ import annotations

from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import CookieMiddleware, SessionMiddleware
from django.urls import path

from apps.chat.consumers import ChatConsumer

websocket = AllowedHostsOriginValidator(
    CookieMiddleware(SessionMiddleware(URLRouter([path("api/v1/ws", ChatConsumer.as_asgi())])))
)
