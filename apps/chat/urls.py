"""Addresses of the page."""

from __future__ import annotations

from django.urls import path

from . import pages

urlpatterns = [
    path("", pages.chat, name="chat"),
    path("chats/", pages.session_items, name="session-items"),
    path("chats/<uuid:session_id>/", pages.chat, name="session"),
    path("chats/<uuid:session_id>/entries/", pages.entries, name="session-entries"),
    path("turns/<uuid:turn_id>/render", pages.render_turn, name="turn-render"),
    path("turns/<uuid:turn_id>/calls/", pages.turn_calls, name="turn-calls"),
]
